// ScopeLocation.swift - where on the forward pass a sparse autoencoder stands, read from its path.
//
// Gemma Scope's files hold matrices only; what they are matrices of is in the names of their
// folders: google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz, and for
// Gemma Scope 2 resid_post/layer_12_width_16k_l0_small. A wrong site gives features that look
// right and are not, so what a path does not say is not guessed, but asked for.

struct ScopeLocation: Sendable {
    var place: Site.Place?
    var layer: Int?
    /// Trained on token embeddings before they are multiplied by sqrt(hiddenSize).
    var readsEmbedding = false
    /// The mean number of active features per token in training.
    var averageL0: Int?

    init() {}

    /// - Parameter path: of the file with the weights.
    init(path: String) {
        // From the file outwards: the nearest folder that says something is right.
        for component in path.split(separator: "/").reversed() {
            let name = component.lowercased()
            if layer == nil, let number = Self.number(in: name, after: "layer_") { layer = number }
            if averageL0 == nil, let number = Self.number(in: name, after: "average_l0_") { averageL0 = number }
            if place == nil { (place, readsEmbedding) = Self.place(folder: name) }
        }
        if readsEmbedding { layer = 0 }
    }

    /// A site by the names that Gemma Scope gives it, or by Cabochon's.
    ///
    /// - Parameter path: the file, of which Gemma Scope 2's transcoders, in safetensors, read what the first one's
    ///   read before it is multiplied by the norm's gain.
    /// - Throws: `.invalidArgument` naming the accepted ones.
    static func place(
        named name: String, path: String
    ) throws(CabochonError) -> (place: Site.Place, readsEmbedding: Bool) {
        if name == "transcoder" { return (path.hasSuffix(".safetensors") ? .mlpIn : .mlpInNormalized, false) }
        if let place = Site.Place(rawValue: name) { return (place, false) }
        if let place = Site.transformerLensPlace(name) { return (place, false) }
        let (place, readsEmbedding) = place(folder: name)
        guard let place else {
            let names = (Site.Place.allCases.map(\.rawValue) + ["res", "att", "mlp", "transcoder", "embedding"])
            throw CabochonError(
                .invalidArgument,
                "\"\(name)\" is no site of a sparse autoencoder; there are \(names.joined(separator: ", "))")
        }
        return (place, readsEmbedding)
    }

    private static func place(folder name: String) -> (Site.Place?, Bool) {
        switch name {
        case "embedding": return (.residPre, true)
        case "resid_post", "resid_post_all": return (.residPost, false)
        case "attn_out", "attn_out_all": return (.attnZ, false)
        case "mlp_out", "mlp_out_all": return (.mlpOut, false)
        case "transcoder", "transcoder_all": return (.mlpIn, false)
        default: break
        }
        switch name.split(separator: "-").last ?? "" {
        case "res": return (.residPost, false)
        case "att": return (.attnZ, false)
        case "mlp": return (.mlpOut, false)
        case "transcoders": return (.mlpInNormalized, false)
        default: return (nil, false)
        }
    }

    private static func number(in name: String, after prefix: String) -> Int? {
        guard let range = name.firstRange(of: prefix) else { return nil }
        let digits = name[range.upperBound...].prefix { $0.isASCII && $0.isNumber }
        return Int(digits)
    }
}
