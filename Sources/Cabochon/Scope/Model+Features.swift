// Model+Features.swift - the features of a text, from one pass that ends where the last dictionary stands.

extension Model {
    /// The features of each token, for one or several dictionaries. Runs no layer past the last site,
    /// and no head. Any thread.
    ///
    /// - Parameters:
    ///   - tokens: as for `logits`. All have a row; those that dictionaries are not trained on are marked
    ///     in `Features.excluded`.
    ///   - saes: at any sites.
    /// - Returns: one for each dictionary, [tokens, width].
    /// - Throws: as `logits`; `.invalidArgument` for a dictionary that does not fit the model.
    public func features(
        of tokens: UnsafeBufferPointer<Int32>, _ saes: [SparseAutoencoder], cancellation: Cancellation = Cancellation()
    ) throws(CabochonError) -> [Features] {
        let interventions = try InterventionVisitors(Interventions(watch: saes), model: self)
        try run(over: tokens, visitors: interventions.visitors, finalRows: .none, cancellation: cancellation) {
            _, _, _ in
        }
        var features: [Features] = []
        for watcher in interventions.watchers { features.append(try watcher.take().features) }
        return features
    }
}
