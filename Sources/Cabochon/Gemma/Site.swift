// Site.swift - named places on the forward pass where a reader or an edit may stand.
//
// The forward pass knows no sparse autoencoder and no steering vector: it offers each site's rows
// to whoever stands there, and costs nothing where nobody does.

/// One place in one layer.
public struct Site: Hashable, Sendable {
    public enum Place: String, CaseIterable, Sendable {
        /// Input of the layer.
        case residPre = "resid_pre"
        /// Heads concatenated, before the output projection: [headCount * headSize].
        case attnZ = "attn_z"
        /// After the output projection.
        case attnOutRaw = "attn_out_raw"
        /// After the post-attention norm: what is added to the residual stream.
        case attnOut = "attn_out"
        /// Residual stream after attention.
        case residMid = "resid_mid"
        /// resid_mid / rms(resid_mid), without the gain.
        case mlpInNormalized = "mlp_in_normalized"
        /// The same with the gain.
        case mlpIn = "mlp_in"
        /// Output of the down projection.
        case mlpOutRaw = "mlp_out_raw"
        /// After the post-feedforward norm: what is added to the residual stream.
        case mlpOut = "mlp_out"
        /// Output of the layer.
        case residPost = "resid_post"

        /// Whether what stands here is the residual stream, or is added to it as it is.
        var isInResidualStream: Bool {
            switch self {
            case .residPre, .attnOut, .residMid, .mlpOut, .residPost: true
            case .attnZ, .attnOutRaw, .mlpInNormalized, .mlpIn, .mlpOutRaw: false
            }
        }
    }

    public let layer: Int
    public let place: Place

    public init(layer: Int, place: Place) {
        self.layer = layer
        self.place = place
    }

    /// TransformerLens's names for the same places.
    private static let otherNames: [String: Place] = [
        "hook_resid_pre": .residPre, "attn.hook_z": .attnZ, "hook_attn_out": .attnOut, "hook_resid_mid": .residMid,
        "ln2.hook_normalized": .mlpInNormalized, "hook_mlp_out": .mlpOut, "hook_resid_post": .residPost,
    ]

    /// The place that TransformerLens calls "hook_resid_post" in each layer.
    static func transformerLensPlace(_ name: String) -> Place? { otherNames[name] }

    /// - Parameter name: "12.resid_post", or TransformerLens's "blocks.12.hook_resid_post".
    /// - Throws: `.invalidArgument` naming the accepted places.
    public init(name: String) throws(CabochonError) {
        let text = name.hasPrefix("blocks.") ? name.dropFirst("blocks.".count) : name[...]
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let layer = Int(parts[0]), (0..<1 << 20).contains(layer),
            let place = name.hasPrefix("blocks.")
                ? Self.otherNames[String(parts[1])] : Place(rawValue: String(parts[1]))
        else {
            let places = Place.allCases.map(\.rawValue).joined(separator: ", ")
            throw CabochonError(
                .invalidArgument, "\"\(name)\" is no site; sites are LAYER.PLACE with the places \(places)")
        }
        self.init(layer: layer, place: place)
    }

    public var name: String { "\(layer).\(place.rawValue)" }

    /// Numbers per token at this site.
    public func width(in configuration: GemmaConfiguration) -> Int {
        place == .attnZ ? configuration.headCount * configuration.headSize : configuration.hiddenSize
    }
}

/// The rows of one site in one batch. Writing to them edits the forward pass.
struct SiteRows {
    /// [tokens, width], rows `stride` floats apart.
    let values: UnsafeMutablePointer<Float>
    let tokens: Int
    let width: Int
    let stride: Int
    /// The batch's rows before these, over all the batches of one call.
    let firstRow: Int
    /// The tokens and positions of the rows.
    let batch: Batch
}

/// Who stands where on one forward pass.
struct SiteVisitors {
    private var visitors: [Site: [(SiteRows) throws(CabochonError) -> Void]] = [:]
    private(set) var lastLayer = -1

    var isEmpty: Bool { visitors.isEmpty }

    mutating func add(at site: Site, _ visit: @escaping (SiteRows) throws(CabochonError) -> Void) {
        visitors[site, default: []].append(visit)
        lastLayer = max(lastLayer, site.layer)
    }

    func stand(at place: Site.Place, _ layer: Int) -> Bool {
        !visitors.isEmpty && visitors[Site(layer: layer, place: place)] != nil
    }

    func visit(_ place: Site.Place, _ layer: Int, _ rows: @autoclosure () -> SiteRows) throws(CabochonError) {
        guard !visitors.isEmpty, let all = visitors[Site(layer: layer, place: place)] else { return }
        for visit in all { try visit(rows()) }
    }
}
