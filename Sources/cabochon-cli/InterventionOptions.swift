// InterventionOptions.swift - what dictionaries do while an answer is made: edits to steer by, features to watch.

import ArgumentParser
import Cabochon
import Glibc

/// `SAE:FEATURE:STRENGTH` or `SAE:FEATURE:STRENGTH:MODE` on the command line.
struct SteerArgument: ExpressibleByArgument {
    let path: String
    let feature: Int
    let strength: Float
    let mode: Steer.Mode

    private static let modes: [String: Steer.Mode] = [
        "add": .add, "set": .set, "scale": .scale, "ablate": .ablate, "orthogonal": .orthogonal, "cap": .cap,
    ]

    init?(argument: String) {
        // The path may hold colons of its own, so the fields are taken from the end.
        var fields = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if let last = fields.last, let named = Self.modes[last] {
            mode = named
            fields.removeLast()
        } else {
            mode = .add
        }
        guard fields.count >= 3, let strength = Float(fields[fields.count - 1]), strength.isFinite,
            let feature = Int(fields[fields.count - 2]), feature >= 0
        else { return nil }
        self.strength = strength
        self.feature = feature
        path = fields.dropLast(2).joined(separator: ":")
    }
}

/// `SAE` or `SAE:FEATURES` on the command line.
struct WatchArgument: ExpressibleByArgument {
    let path: String
    /// Nil: all.
    let features: FeatureList?

    init?(argument: String) {
        // As with an edit, from the end; what is no list of numbers belongs to the path.
        if let colon = argument.lastIndex(of: ":"),
            let list = FeatureList(argument: String(argument[argument.index(after: colon)...]))
        {
            path = String(argument[..<colon])
            features = list
        } else {
            path = argument
            features = nil
        }
        guard !path.isEmpty else { return nil }
    }
}

struct InterventionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Edit a feature on the way: a dictionary's path, the feature, the strength, and maybe a mode: add (the default), set, scale, ablate, orthogonal or cap. May be given several times.",
            valueName: "sae:feature:strength"))
    var steer: [SteerArgument] = []

    @Flag(help: "Steer from the answer on; without it the prompt is steered as well.")
    var steerAnswer = false

    @Option(
        help: ArgumentHelp(
            "Say which features of a dictionary fire for each token, after the answer: its path, and maybe the numbers of the features to look at, which then cost their own rows alone (path:12,400). May be given several times.",
            valueName: "sae[:features]"))
    var watch: [WatchArgument] = []

    @OptionGroup var cache: CacheOptions

    func validate() throws {
        if steerAnswer && steer.isEmpty { throw ValidationError("--steer-answer needs --steer.") }
    }

    /// Each path is loaded once. The dictionaries must fit the model.
    func interventions(for model: Model) throws(Failure) -> Interventions {
        var dictionaries: [String: SparseAutoencoder] = [:]
        var options = SparseAutoencoder.Options()
        options.storage = cache.storage
        for path in steer.map(\.path) + watch.map(\.path) where dictionaries[path] == nil {
            guard access(path, F_OK) == 0 else { throw Failure(path: path) }
            dictionaries[path] = try orFail { () throws(CabochonError) in
                try SparseAutoencoder(path: path, engine: model.engine, options: options)
            }
        }
        var result = Interventions()
        for edit in steer {
            guard let sae = dictionaries[edit.path] else { continue }
            result.steer.append(
                Steer(
                    sae: sae, feature: edit.feature, strength: edit.strength, mode: edit.mode,
                    positions: steerAnswer ? .answer : .all))
        }
        for wanted in watch {
            guard let sae = dictionaries[wanted.path] else { continue }
            result.watch.append(
                try orFail { () throws(CabochonError) in
                    try sae.checkFits(model)
                    guard let listed = wanted.features else { return sae }
                    return try sae.only(listed.features)
                })
        }
        return result
    }
}
