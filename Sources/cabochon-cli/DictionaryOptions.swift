// DictionaryOptions.swift - the sparse autoencoder that a command reads by, and where encoders are kept.

import ArgumentParser
import Cabochon
import Glibc

struct DictionaryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Gemma Scope's params.npz, Gemma Scope 2's params.safetensors, or the folder of either.", valueName: "path")
    )
    var sae: String

    @Option(
        help: ArgumentHelp(
            "Where the dictionary stands: resid_post, or res, att, mlp, transcoder, embedding. Without it: what the path says.",
            valueName: "name"))
    var site: String?

    @Option(
        parsing: .unconditional, help: ArgumentHelp("The layer. Without it: what the path says.", valueName: "number"))
    var layer: Int?

    @OptionGroup var cache: CacheOptions

    func validate() throws {
        if let layer, layer < 0 { throw ValidationError("--layer is 0 or more.") }
    }

    /// The dictionary, which must fit the model, or some of its features.
    func load(for model: Model, only features: FeatureList? = nil) throws(Failure) -> SparseAutoencoder {
        guard access(sae, F_OK) == 0 else { throw Failure(path: sae) }
        var options = SparseAutoencoder.Options()
        options.site = site
        options.layer = layer
        options.storage = cache.storage
        return try orFail { () throws(CabochonError) in
            let dictionary = try SparseAutoencoder(path: sae, engine: model.engine, options: options)
            try dictionary.checkFits(model)
            guard let features else { return dictionary }
            return try dictionary.only(features.features)
        }
    }
}

struct CacheOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The folder for files of encoders, laid out for encoding, which later runs find again; or off, which keeps them in memory. Without it: cabochon/encoders of the user's cache folder, for large ones.",
            valueName: "folder|off"))
    var cache: String?

    var storage: SparseAutoencoder.Storage {
        switch cache {
        case nil: .cache
        case "off": .memory
        case let folder?: .folder(folder)
        }
    }

    func validate() throws {
        if cache == "" { throw ValidationError("--cache is a folder, or off.") }
    }
}

/// `12,400`: some features of a dictionary.
struct FeatureList: ExpressibleByArgument {
    let features: [Int]

    init?(argument: String) {
        let fields = argument.split(separator: ",", omittingEmptySubsequences: false)
        features = fields.compactMap { Int($0) }.filter { $0 >= 0 }
        guard features.count == fields.count else { return nil }
    }

    var text: String { features.map(String.init).joined(separator: ",") }
}
