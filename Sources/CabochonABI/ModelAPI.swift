// ModelAPI.swift - the section "Model" of cabochon.h.

import CCabochon
import Cabochon

@c @implementation
public func cabochon_model_options_init(_ options: UnsafeMutablePointer<cabochon_model_options>?, _ size: Int) {
    initialise(options, size)
}

@c @implementation
public func cabochon_model_load(
    _ engine: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<cabochon_model_options>?,
    _ out_model: UnsafeMutablePointer<OpaquePointer?>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(giving: out_model, "out_model", error) { () throws(CabochonError) in
        let engine = try ownEngine(engine)
        let path = try CabochonABI.path(path, "path")
        let model = try Model(path: path, engine: engine.engine, options: try modelOptions(options))
        return ModelHandle(model, engine: engine)
    }
}

private func modelOptions(_ pointer: UnsafePointer<cabochon_model_options>?) throws(CabochonError) -> Model.Options {
    let given = try options(pointer, "options")
    var result = Model.Options()
    result.backend = try optionalName(given.backend, "options.backend")
    switch given.kv_type {
    case CABOCHON_KV_DEFAULT, CABOCHON_KV_F16: result.kvType = .f16
    case CABOCHON_KV_F32: result.kvType = .f32
    case CABOCHON_KV_Q8_0: result.kvType = .q8_0
    default: throw CabochonError(.unsupportedOption, "options.kv_type is \(given.kv_type)")
    }
    switch given.embedding_scale {
    case CABOCHON_EMBEDDING_SCALE_DEFAULT: result.embeddingScale = .automatic
    case CABOCHON_EMBEDDING_SCALE_BF16: result.embeddingScale = .bf16
    case CABOCHON_EMBEDDING_SCALE_F32: result.embeddingScale = .f32
    default: throw CabochonError(.unsupportedOption, "options.embedding_scale is \(given.embedding_scale)")
    }
    try checkFlags(given.flags, known: CABOCHON_LOAD_VOCABULARY_ONLY | CABOCHON_LOAD_COPY, "options.flags")
    result.vocabularyOnly = given.flags & CABOCHON_LOAD_VOCABULARY_ONLY != 0
    result.copiesFiles = given.flags & CABOCHON_LOAD_COPY != 0
    result.contextLength = Int(given.context_length)
    return result
}

@c @implementation
public func cabochon_model_retain(_ model: OpaquePointer?) -> OpaquePointer? {
    HandleTable.shared.retain(model, as: ModelHandle.self)
}

@c @implementation
public func cabochon_model_free(_ model: OpaquePointer?) {
    HandleTable.shared.release(model, as: ModelHandle.self)
}

// MARK: Properties

private func live(_ model: OpaquePointer?) -> ModelHandle? { HandleTable.shared.object(model) }

@c @implementation
public func cabochon_model_architecture(_ model: OpaquePointer?) -> UnsafePointer<CChar>? {
    live(model)?.architecture.bytes
}

@c @implementation
public func cabochon_model_vocab_size(_ model: OpaquePointer?) -> UInt32 {
    UInt32(clamping: live(model)?.model.configuration.vocabularySize ?? 0)
}

@c @implementation
public func cabochon_model_hidden_size(_ model: OpaquePointer?) -> UInt32 {
    UInt32(clamping: live(model)?.model.configuration.hiddenSize ?? 0)
}

@c @implementation
public func cabochon_model_layer_count(_ model: OpaquePointer?) -> UInt32 {
    UInt32(clamping: live(model)?.model.configuration.layerCount ?? 0)
}

@c @implementation
public func cabochon_model_context_length(_ model: OpaquePointer?) -> UInt32 {
    UInt32(clamping: live(model)?.model.contextLength ?? 0)
}

@c @implementation
public func cabochon_model_bos_id(_ model: OpaquePointer?) -> Int32 {
    live(model)?.model.tokenizer.vocabulary.special.bos ?? -1
}

@c @implementation
public func cabochon_model_eos_ids(
    _ model: OpaquePointer?, _ ids: UnsafeMutablePointer<Int32>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try write(try CabochonABI.model(model).model.stopTokens, ids, inout_len)
    }
}

@c @implementation
public func cabochon_model_describe(
    _ model: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try write(try describe(try CabochonABI.model(model).model), buffer, inout_len)
    }
}

private func describe(_ model: Model) throws(CabochonError) -> String {
    let description = try model.inspect()
    var json = JSONWriter()
    json.object { json in
        json.key("path")
        json.value(model.path)
        json.key("format")
        json.value(description.format)
        json.key("files")
        json.array { json in for path in description.paths { json.value(path) } }
        json.key("bytes")
        json.value(description.byteCount)
        json.key("parameters")
        json.value(description.parameterCount)
        json.key("architecture")
        json.value(model.configuration.architecture)
        let numbers: [(String, Int)] = [
            ("vocab_size", model.configuration.vocabularySize), ("hidden_size", model.configuration.hiddenSize),
            ("layer_count", model.configuration.layerCount), ("head_count", model.configuration.headCount),
            ("kv_head_count", model.configuration.kvHeadCount), ("head_size", model.configuration.headSize),
            ("feed_forward_size", model.configuration.feedForwardSize),
            ("context_length", model.configuration.contextLength),
            ("sliding_window", model.configuration.slidingWindow),
        ]
        for (key, number) in numbers {
            json.key(key)
            json.value(number)
        }
        json.key("load_nanoseconds")
        json.value(Int(clamping: model.loadNanoseconds))
        json.key("metadata")
        json.object { json in
            for (key, value) in description.metadata {
                json.key(key)
                json.value(value)
            }
        }
        json.key("tensors")
        json.array { json in
            for tensor in description.tensors {
                json.object { json in
                    json.key("name")
                    json.value(tensor.name)
                    json.key("type")
                    json.value(tensor.type)
                    json.key("shape")
                    json.array { json in for size in tensor.shape { json.value(size) } }
                    json.key("bytes")
                    json.value(tensor.byteCount)
                }
            }
        }
    }
    return json.text
}

@c @implementation
public func cabochon_model_backend(
    _ model: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ inout_len: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try write(try CabochonABI.model(model).model.backend, buffer, inout_len)
    }
}

@c @implementation
public func cabochon_model_set_backend(
    _ model: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<OpaquePointer?>?
) -> cabochon_status {
    boundary(error) { () throws(CabochonError) in
        try ownModel(model).model.useBackend(try CabochonABI.name(name, "name"))
    }
}
