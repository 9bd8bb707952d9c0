// ScopeParameters.swift - the arrays of a Gemma Scope file, checked against each other.
//
// Gemma Scope: params.npz with W_enc, W_dec, b_enc, b_dec, threshold. Gemma Scope 2:
// params.safetensors with the same names in lower case and maybe affine_skip_connection, and a
// config.json that names the hook points.

import Glibc

struct ScopeParameters {
    let path: String
    let location: ScopeLocation
    let width, inputSize, outputSize: Int
    let encoder: DeferredTensor  // [inputSize, width]
    let decoder: DeferredTensor  // [width, outputSize]
    let encoderBias: DeferredTensor  // [width]
    let decoderBias: DeferredTensor  // [outputSize]
    let threshold: DeferredTensor  // [width]
    let skip: DeferredTensor?  // [inputSize, outputSize]

    init(path given: String) throws(CabochonError) {
        guard !given.utf8.contains(0) else {
            throw CabochonError(.invalidArgument, "a path may not contain a zero byte")
        }
        var path = given
        if access("\(given)/.", F_OK) == 0 {
            path = "\(given)/params.npz"
            if !OpenFile.isNamed(path) { path = "\(given)/params.safetensors" }
        }
        self.path = path
        let find: (String) throws(CabochonError) -> DeferredTensor?
        if path.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path: path)
            find = { name throws(CabochonError) in
                guard let tensor = file.tensors[name] ?? file.tensors[name.lowercased()] else { return nil }
                return DeferredTensor(try FloatTensor(tensor))
            }
        } else {
            let file = try NPZFile(path: path)
            find = { name throws(CabochonError) in
                if let array = try file.array(name) { return array }
                return try file.array(name.lowercased())
            }
        }
        func need(_ name: String) throws(CabochonError) -> DeferredTensor {
            guard let tensor = try find(name) else {
                throw CabochonError(
                    .invalidFile,
                    "\(path): '\(name)' is missing; a JumpReLU autoencoder has W_enc, W_dec, b_enc, b_dec and threshold"
                )
            }
            return tensor
        }
        encoder = try need("W_enc")
        decoder = try need("W_dec")
        encoderBias = try need("b_enc")
        decoderBias = try need("b_dec")
        threshold = try need("threshold")
        skip = try find("affine_skip_connection")
        guard encoder.shape.count == 2, decoder.shape.count == 2 else {
            throw CabochonError(
                .unsupported,
                "\(path): W_enc \(encoder.shape) and W_dec \(decoder.shape); only matrices can be read, no cross-layer dictionaries"
            )
        }
        inputSize = encoder.shape[0]
        width = encoder.shape[1]
        outputSize = decoder.shape[1]
        // 2^24 features of 2^16 numbers are beyond any published dictionary, and keep products of sizes small.
        guard (1...1 << 24).contains(width), (1...1 << 16).contains(inputSize), (1...1 << 16).contains(outputSize)
        else {
            throw CabochonError(
                .invalidFile, "\(path): W_enc \(encoder.shape), W_dec \(decoder.shape): sizes out of range")
        }
        var expected = [
            (decoder, [width, outputSize]), (encoderBias, [width]), (decoderBias, [outputSize]), (threshold, [width]),
        ]
        if let skip { expected.append((skip, [inputSize, outputSize])) }
        for (tensor, shape) in expected where tensor.shape != shape {
            throw CabochonError(
                .invalidFile, "\(tensor.label): shape \(tensor.shape), but W_enc \(encoder.shape) needs \(shape)")
        }
        let factor = try find("scaling_factor")
        // Matrices are verified by who lays them out: where they have been, later loads read little of them.
        for tensor in [encoderBias, decoderBias, threshold, skip, factor] { try tensor?.verify() }
        if let factor {
            let factors = try factor.tensor().floats(for: "scaling factors")
            guard factors.elements.allSatisfy({ $0 == 1 }) else {
                throw CabochonError(.unsupported, "\(path): scaling factors other than 1")
            }
        }
        try Self.refuseOtherMathematics(path)
        location = try Self.location(path)
    }

    /// SAELens writes arrays of the same names, and in the cfg.json beside them what is done to inputs before they
    /// are encoded. Features that leave it out look right and are not.
    private static func refuseOtherMathematics(_ path: String) throws(CabochonError) {
        let configPath = "\(folder(of: path))/cfg.json"
        guard path.hasSuffix(".safetensors"), OpenFile.isNamed(configPath) else { return }
        let config = try JSON.parse(try MappedFile(path: configPath))
        let harmless: [(key: String, isHarmless: (JSONValue) -> Bool)] = [
            ("architecture", { ["jumprelu", "jumprelu_transcoder"].contains($0.string) }),
            ("apply_b_dec_to_input", { $0.bool == false }), ("normalize_activations", { $0.string == "none" }),
            ("hook_head_index", { _ in false }),
        ]
        for (key, isHarmless) in harmless {
            guard let value = config[key] ?? config["metadata"]?[key], !value.isNull, !isHarmless(value) else {
                continue
            }
            throw CabochonError(.unsupported, "\(configPath): dictionaries with this \(key) cannot be read")
        }
    }

    private static func folder(of path: String) -> String { path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "." }

    private static func location(_ path: String) throws(CabochonError) -> ScopeLocation {
        var location = ScopeLocation(path: absolute(path))
        let configPath = "\(folder(of: path))/config.json"
        guard path.hasSuffix(".safetensors"), OpenFile.isNamed(configPath) else { return location }
        let config = try JSON.parse(try MappedFile(path: configPath))
        if let value = config["architecture"], !value.isNull, value.string != "jump_relu" {
            let name = value.string.map { "'\($0)'" } ?? "that is no string"
            throw CabochonError(.unsupported, "\(configPath): architecture \(name); jump_relu can be read")
        }
        if let l0 = config["l0"]?.double, (0...1e6).contains(l0) { location.averageL0 = Int(l0.rounded()) }
        guard let hook = config["hf_hook_point_in"] else { return location }
        guard let name = hook.string else {
            throw CabochonError(
                .unsupported, "\(configPath): several hook points; dictionaries of one layer can be read")
        }
        // model.layers.12.self_attn.o_proj.input
        let parts = name.split(separator: ".")
        guard let layers = parts.firstIndex(of: "layers"), layers + 2 < parts.count, let layer = Int(parts[layers + 1])
        else {
            throw CabochonError(.unsupported, "\(configPath): hook point '\(name)'")
        }
        location.layer = layer
        switch parts[(layers + 2)...].joined(separator: ".") {
        case "output": location.place = .residPost
        case "self_attn.o_proj.input": location.place = .attnZ
        case "post_feedforward_layernorm.output": location.place = .mlpOut
        case "pre_feedforward_layernorm.output": location.place = .mlpIn
        default: throw CabochonError(.unsupported, "\(configPath): hook point '\(name)'")
        }
        return location
    }

    /// A relative path's first folders are those of the working directory.
    private static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return "\(String(cString: current))/\(path)"
    }
}
