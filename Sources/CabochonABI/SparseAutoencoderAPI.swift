// SparseAutoencoderAPI.swift - the section "Sparse autoencoders" of cabochon.h: dictionaries.

import CCabochon
import Cabochon

extension cabochon_sae_options: SizedStruct { static let firstSize = 40 }

final class SparseAutoencoderHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0020
    let sae: SparseAutoencoder
    let engine: EngineHandle
    let site: CText

    init(_ sae: SparseAutoencoder, engine: EngineHandle) {
        self.sae = sae
        self.engine = engine
        site = CText(sae.site.place.rawValue)
    }
}

private func ownHandle(_ handle: OpaquePointer?) throws(CabochonError) -> SparseAutoencoderHandle {
    guard let object = HandleTable.shared.object(handle, as: SparseAutoencoderHandle.self) else {
        throw CabochonError(
            .invalidHandle, handle == nil ? "the sae is NULL" : "the sae is freed, or a handle of another kind")
    }
    try object.engine.checkProcess()
    return object
}

/// A dictionary that this process may compute with.
func ownSparseAutoencoder(_ handle: OpaquePointer?) throws(CabochonError) -> SparseAutoencoder {
    try ownHandle(handle).sae
}

/// Dictionaries in one list.
let mostDictionaries = 1 << 12

func ownSparseAutoencoders(
    _ handles: UnsafePointer<OpaquePointer?>?, _ count: Int, _ name: StaticString
) throws(CabochonError) -> [SparseAutoencoder] {
    var saes: [SparseAutoencoder] = []
    for handle in try elements(handles, count, name, atMost: mostDictionaries) {
        saes.append(try ownSparseAutoencoder(handle))
    }
    return saes
}

private func live(_ handle: OpaquePointer?) -> SparseAutoencoderHandle? { HandleTable.shared.object(handle) }

@c @implementation
public func cabochon_sae_options_init(_ options: UnsafeMutablePointer<cabochon_sae_options>?, _ size: Int) {
    initialise(options, size)
}

@c @implementation
public func cabochon_sae_load(
    _ engine: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<cabochon_sae_options>?,
    _ out_sae: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_sae, "out_sae", error) { () throws(CabochonError) in
        let engine = try ownEngine(engine)
        let given = try CabochonABI.options(options, "options")
        try checkFlags(given.flags, known: CABOCHON_SAE_LAYER | CABOCHON_SAE_IN_MEMORY, "options.flags")
        var options = SparseAutoencoder.Options()
        options.site = try optionalName(given.site, "options.site")
        options.backend = try optionalName(given.backend, "options.backend")
        if given.flags & CABOCHON_SAE_LAYER != 0 { options.layer = Int(given.layer) }
        if let folder = try optionalName(given.cache, "options.cache") { options.storage = .folder(folder) }
        if given.flags & CABOCHON_SAE_IN_MEMORY != 0 {
            guard given.cache == nil else {
                throw CabochonError(.invalidArgument, "options.cache is given for an encoder in memory")
            }
            options.storage = .memory
        }
        return SparseAutoencoderHandle(
            try SparseAutoencoder(path: try CabochonABI.path(path, "path"), engine: engine.engine, options: options),
            engine: engine
        )
    }
}

@c @implementation
public func cabochon_sae_only(
    _ sae: OpaquePointer?, _ features: UnsafePointer<UInt32>?, _ feature_count: Int,
    _ out_sae: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_sae, "out_sae", error) { () throws(CabochonError) in
        let whole = try ownHandle(sae)
        let features = try elements(features, feature_count, "features", atMost: 1 << 24)
        return SparseAutoencoderHandle(try whole.sae.only(features.map { Int($0) }), engine: whole.engine)
    }
}

@c @implementation
public func cabochon_sae_retain(_ sae: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(sae, as: SparseAutoencoderHandle.self)
}

@c @implementation
public func cabochon_sae_free(_ sae: OpaquePointer?) {
    HandleTable.shared.release(sae, as: SparseAutoencoderHandle.self)
}

@c @implementation
public func cabochon_sae_width(_ sae: OpaquePointer?) -> UInt32 { UInt32(clamping: live(sae)?.sae.width ?? 0) }

@c @implementation
public func cabochon_sae_input_size(_ sae: OpaquePointer?) -> UInt32 { UInt32(clamping: live(sae)?.sae.inputSize ?? 0) }

@c @implementation
public func cabochon_sae_output_size(_ sae: OpaquePointer?) -> UInt32 {
    UInt32(clamping: live(sae)?.sae.outputSize ?? 0)
}

@c @implementation
public func cabochon_sae_layer(_ sae: OpaquePointer?) -> UInt32 { UInt32(clamping: live(sae)?.sae.site.layer ?? 0) }

@c @implementation
public func cabochon_sae_average_l0(_ sae: OpaquePointer?) -> UInt32 { UInt32(clamping: live(sae)?.sae.averageL0 ?? 0) }

@c @implementation
public func cabochon_sae_site(_ sae: OpaquePointer?) -> UnsafePointer<CChar>? { live(sae)?.site.bytes }

@c @implementation
public func cabochon_sae_kind(_ sae: OpaquePointer?) -> UnsafePointer<CChar>? {
    guard let kind = live(sae)?.sae.kind else { return nil }
    let text: StaticString = kind == .transcoder ? "transcoder" : "autoencoder"
    return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

@c @implementation
public func cabochon_sae_direction(
    _ sae: OpaquePointer?, _ feature: UInt32, _ output: UnsafeMutablePointer<Float>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let sae = try ownSparseAutoencoder(sae)
        guard Int(feature) < sae.width else {
            throw CabochonError(.invalidArgument, "feature \(feature) of \(sae.path), which has \(sae.width)")
        }
        try write(needed: sae.outputSize, output, inout_len) { (room) throws(CabochonError) in
            try sae.copyDirection(of: Int(feature), into: room)
        }
    }
}

@c @implementation
public func cabochon_sae_encode(
    _ sae: OpaquePointer?, _ input: UnsafePointer<Float>?, _ row_count: Int,
    _ out_features: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_features, "out_features", error) { () throws(CabochonError) in
        let sae = try ownSparseAutoencoder(sae)
        guard (0...Int(Int32.max)).contains(row_count) else {
            throw CabochonError(.invalidArgument, "\(UInt(bitPattern: row_count)) rows: at most \(Int32.max)")
        }
        let input = try elements(input, try floatCount(row_count, sae.inputSize), "input", atMost: Int.max)
        return FeaturesHandle(try sae.encode(input))
    }
}

@c @implementation
public func cabochon_sae_decode(
    _ sae: OpaquePointer?, _ features: OpaquePointer?, _ input: UnsafePointer<Float>?,
    _ output: UnsafeMutablePointer<Float>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let sae = try ownSparseAutoencoder(sae)
        let features = try CabochonABI.features(features)
        let needed = try floatCount(features.rowCount, sae.outputSize)
        let input = try input.map { pointer throws(CabochonError) in
            UnsafeBufferPointer(start: pointer, count: try floatCount(features.rowCount, sae.inputSize))
        }
        try write(needed: needed, output, inout_len) { (room) throws(CabochonError) in
            try sae.decode(features, input: input, into: room)
        }
    }
}
