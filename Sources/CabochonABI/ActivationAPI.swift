// ActivationAPI.swift - the section "Logits and activations" of cabochon.h.

import CCabochon
import Cabochon

@c @implementation
public func cabochon_model_logits(
    _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int, _ logits: UnsafeMutablePointer<Float>?,
    _ inout_len: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownModel(model)
        let model = handle.model
        let ids = try prompt(ids, id_count, for: model)
        let needed = try floatCount(ids.count, model.configuration.vocabularySize)
        try write(needed: needed, logits, inout_len) { (room) throws(CabochonError) in
            try handle.cancellation.during { (cancellation) throws(CabochonError) in
                try model.logits(of: ids, into: room, cancellation: cancellation)
            }
        }
    }
}

@c @implementation
public func cabochon_model_site_width(
    _ model: OpaquePointer?, _ site: UnsafePointer<CChar>?, _ out_width: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let model = try CabochonABI.model(model).model
        let width = try CabochonABI.site(site, in: model).width(in: model.configuration)
        guard let out_width else { throw CabochonError(.invalidArgument, "out_width is NULL") }
        out_width.pointee = width
    }
}

@c @implementation
public func cabochon_model_activations(
    _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ id_count: Int,
    _ sites: UnsafePointer<UnsafePointer<CChar>?>?, _ site_count: Int,
    _ outputs: UnsafePointer<UnsafeMutablePointer<Float>?>?, _ lens: UnsafePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        let handle = try ownModel(model)
        let model = handle.model
        let ids = try prompt(ids, id_count, for: model)
        let names = try elements(sites, site_count, "sites", atMost: 1 << 16)
        let outputs = try elements(outputs, site_count, "outputs")
        let lens = try elements(lens, site_count, "lens")
        var wanted: [Site] = []
        var rooms: [UnsafeMutableBufferPointer<Float>] = []
        for index in 0..<site_count {
            let site = try site(names[index], in: model)
            let needed = try floatCount(ids.count, site.width(in: model.configuration))
            guard let output = outputs[index] else {
                throw CabochonError(.invalidArgument, "outputs[\(index)] is NULL")
            }
            guard UInt(needed) <= UInt(bitPattern: lens[index]) else {
                throw CabochonError(
                    .bufferTooSmall,
                    "outputs[\(index)] has room for \(UInt(bitPattern: lens[index])) floats, \(site.name) needs \(needed)"
                )
            }
            wanted.append(site)
            rooms.append(UnsafeMutableBufferPointer(start: output, count: needed))
        }
        try handle.cancellation.during { (cancellation) throws(CabochonError) in
            try model.activations(of: ids, at: wanted, into: rooms, cancellation: cancellation)
        }
    }
}

@c @implementation
public func cabochon_model_cancel(_ model: OpaquePointer?) {
    HandleTable.shared.visit(model, as: ModelHandle.self) { $0.cancellation.cancel() }
}

/// At least one token id, and no more than the model's context, so that a wrong count is not read.
func prompt(
    _ ids: UnsafePointer<Int32>?, _ count: Int, for model: Model
) throws(CabochonError) -> UnsafeBufferPointer<Int32> {
    guard count != 0 else { throw CabochonError(.invalidArgument, "no ids: at least one is needed") }
    guard count <= model.contextLength else {
        throw CabochonError(.contextExceeded, "\(count) tokens in a context of \(model.contextLength)")
    }
    return try elements(ids, count, "ids")
}

/// A site by name, inside this model.
private func site(_ pointer: UnsafePointer<CChar>?, in model: Model) throws(CabochonError) -> Site {
    let site = try Site(name: try name(pointer, "site"))
    let layers = model.configuration.layerCount
    guard (0..<layers).contains(site.layer) else {
        throw CabochonError(.invalidArgument, "site \"\(site.name)\": the model has layers 0 to \(layers - 1)")
    }
    return site
}
