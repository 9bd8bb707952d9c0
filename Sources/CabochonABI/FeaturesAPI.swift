// FeaturesAPI.swift - the section "Sparse autoencoders" of cabochon.h: features and interventions.

import CCabochon
import Cabochon

extension cabochon_interventions: SizedStruct { static let firstSize = 56 }

final class FeaturesHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0021
    let features: Features

    init(_ features: Features) { self.features = features }
}

private func live(_ handle: OpaquePointer?) -> Features? {
    HandleTable.shared.object(handle, as: FeaturesHandle.self)?.features
}

func features(_ handle: OpaquePointer?) throws(CabochonError) -> Features {
    if let features = live(handle) { return features }
    throw CabochonError(
        .invalidHandle, handle == nil ? "the features are NULL" : "the features are freed, or a handle of another kind")
}

@c @implementation
public func cabochon_features_create(
    _ width: Int, _ row_count: Int, _ offsets: UnsafePointer<Int>?, _ indices: UnsafePointer<UInt32>?,
    _ values: UnsafePointer<Float>?, _ out_features: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_features, "out_features", error) { () throws(CabochonError) in
        guard (0...1 << 24).contains(width), (0..<Int(Int32.max)).contains(row_count) else {
            throw CabochonError(
                .invalidArgument, "\(UInt(bitPattern: row_count)) rows of \(UInt(bitPattern: width)) features")
        }
        let offsets = try elements(offsets, row_count + 1, "offsets")
        let count = offsets.last ?? 0
        return FeaturesHandle(
            try Features(
                width: width, offsets: offsets, indices: try elements(indices, count, "indices"),
                values: try elements(values, count, "values")))
    }
}

@c @implementation
public func cabochon_features_retain(_ features: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(features, as: FeaturesHandle.self)
}

@c @implementation
public func cabochon_features_free(_ features: OpaquePointer?) {
    HandleTable.shared.release(features, as: FeaturesHandle.self)
}

@c @implementation
public func cabochon_features_width(_ features: OpaquePointer?) -> Int { live(features)?.width ?? 0 }

@c @implementation
public func cabochon_features_row_count(_ features: OpaquePointer?) -> Int { live(features)?.rowCount ?? 0 }

/// The address and the count of an array that the features own.
private func lend<Element>(
    _ array: UnsafeBufferPointer<Element>?, _ count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<Element>? {
    count?.pointee = array?.count ?? 0
    return array?.baseAddress
}

@c @implementation
public func cabochon_features_offsets(_ features: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?)
    -> UnsafePointer<Int>?
{
    lend(live(features)?.offsets, out_count)
}

@c @implementation
public func cabochon_features_indices(
    _ features: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<UInt32>? {
    lend(live(features)?.indices, out_count)
}

@c @implementation
public func cabochon_features_values(
    _ features: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<Float>? {
    lend(live(features)?.values, out_count)
}

@c @implementation
public func cabochon_features_excluded(
    _ features: OpaquePointer?, _ out_count: UnsafeMutablePointer<Int>?
) -> UnsafePointer<UInt8>? {
    lend(live(features)?.excluded, out_count)
}

@c @implementation
public func cabochon_model_features(
    _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int, _ saes: UnsafePointer<OpaquePointer?>?,
    _ sae_count: Int, _ out_features: UnsafeMutablePointer<OpaquePointer?>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    // Where their number is what is wrong, so many are not touched.
    if let out_features, (0...mostDictionaries).contains(sae_count) {
        for index in 0..<sae_count { out_features[index] = nil }
    }
    return boundary(error) { () throws(CabochonError) in
        let handle = try ownModel(model)
        let model = handle.model
        let saes = try ownSparseAutoencoders(saes, sae_count, "saes")
        guard let out_features else { throw CabochonError(.invalidArgument, "out_features is NULL") }
        let ids = try prompt(ids, id_count, for: model)
        let all = try handle.cancellation.during { (cancellation) throws(CabochonError) in
            try model.features(of: ids, saes, cancellation: cancellation)
        }
        for (index, features) in all.enumerated() {
            guard let handle = HandleTable.shared.insert(FeaturesHandle(features)) else {
                for earlier in 0..<index {
                    cabochon_features_free(out_features[earlier])
                    out_features[earlier] = nil
                }
                throw CabochonError(.outOfMemory, "no room for another handle")
            }
            out_features[index] = handle
        }
    }
}

@c @implementation
public func cabochon_interventions_init(_ interventions: UnsafeMutablePointer<cabochon_interventions>?, _ size: Int) {
    initialise(interventions, size)
}

@c @implementation
public func cabochon_model_logits_with(
    _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int,
    _ interventions: UnsafePointer<cabochon_interventions>?, _ logits: UnsafeMutablePointer<Float>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownModel(model)
        let model = handle.model
        let ids = try prompt(ids, id_count, for: model)
        let interventions = try CabochonABI.interventions(interventions)
        let needed = try floatCount(ids.count, model.configuration.vocabularySize)
        try write(needed: needed, logits, inout_len) { (room) throws(CabochonError) in
            try handle.cancellation.during { (cancellation) throws(CabochonError) in
                try model.logits(of: ids, into: room, with: interventions, cancellation: cancellation)
            }
        }
    }
}

/// The caller's interventions; none for nil.
func interventions(_ pointer: UnsafePointer<cabochon_interventions>?) throws(CabochonError) -> Interventions {
    let given = try options(pointer, "interventions")
    var result = Interventions(
        splice: try ownSparseAutoencoders(given.splice, given.splice_count, "interventions.splice"),
        watch: try ownSparseAutoencoders(given.watch, given.watch_count, "interventions.watch"))
    for edit in try elements(given.steer, given.steer_count, "interventions.steer", atMost: 1 << 12) {
        result.steer.append(try steer(edit))
    }
    return result
}

private func steer(_ given: cabochon_steer) throws(CabochonError) -> Steer {
    guard given.reserved_.0 == 0, given.reserved_.1 == 0 else {
        throw CabochonError(.unsupportedOption, "reserved_ of an edit is not zero")
    }
    guard let mode = Steer.Mode(rawValue: max(given.mode, CABOCHON_STEER_ADD)) else {
        throw CabochonError(.unsupportedOption, "mode \(given.mode) of an edit")
    }
    var result = Steer(
        sae: try ownSparseAutoencoder(given.sae), feature: Int(given.feature), strength: given.strength, mode: mode)
    switch given.positions {
    case CABOCHON_POSITIONS_DEFAULT, CABOCHON_POSITIONS_ALL: break
    case CABOCHON_POSITIONS_ANSWER: result.positions = .answer
    case CABOCHON_POSITIONS_LISTED:
        result.positions = .only(
            Set(try elements(given.position_list, given.position_count, "positions", atMost: 1 << 24)))
    default: throw CabochonError(.unsupportedOption, "positions \(given.positions) of an edit")
    }
    if given.condition_sae != nil {
        result.condition = Steer.Condition(
            sae: try ownSparseAutoencoder(given.condition_sae), feature: Int(given.condition_feature),
            threshold: given.condition_threshold)
    }
    return result
}

/// Hands watched features to the caller; the handle is given back after the call.
func report(
    _ watched: WatchedFeatures, to callback: cabochon_features_callback?, _ userData: UnsafeMutableRawPointer?
) {
    guard let callback, let handle = HandleTable.shared.insert(FeaturesHandle(watched.features)) else { return }
    watched.positions.withUnsafeBufferPointer { callback(userData, watched.watchIndex, $0.baseAddress, handle) }
    cabochon_features_free(handle)
}
