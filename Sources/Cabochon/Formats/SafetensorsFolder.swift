// SafetensorsFolder.swift - the weights of a folder in Hugging Face's layout.
//
// Either one model.safetensors, or shards and an index that says which shard holds which tensor.
// The index is believed only about names: each tensor must really be in its shard.

import Glibc

/// All tensors of a model folder.
///
/// The tensors point into the mapped files and keep them alive. Safe to use from any thread.
public struct SafetensorsFolder: Sendable {
    /// The tensors by name.
    public let tensors: [String: StoredTensor]
    /// The weight files' paths, in the order in which they were opened.
    public let paths: [String]

    /// Some 500,000 tensors.
    private static let limits = JSONLimits(depth: 4, elements: 1 << 20)

    /// Opens `model.safetensors` in the folder, or the shards that `model.safetensors.index.json` names.
    ///
    /// - Parameter path: the folder.
    /// - Throws: `.io` if a file is missing or cannot be opened, `.invalidFile` if one breaks its
    ///   format's rules or lacks a tensor that the index promises, `.unsupported` for other elements
    ///   than BF16, F16 and F32.
    public init(path: String, copies: Bool = false) throws(CabochonError) {
        let single = "\(path)/model.safetensors"
        let index = "\(path)/model.safetensors.index.json"
        if OpenFile.isNamed(single) {
            let file = try SafetensorsFile(path: single, copies: copies)
            tensors = file.tensors
            paths = [single]
        } else if OpenFile.isNamed(index) {
            (tensors, paths) = try Self.openShards(index: index, folder: path, copies: copies)
        } else {
            throw CabochonError(
                .io, "\(path): neither model.safetensors nor model.safetensors.index.json is there")
        }
    }

    private static func openShards(
        index: String, folder: String, copies: Bool
    ) throws(CabochonError) -> ([String: StoredTensor], [String]) {
        let document = try JSON.parse(try MappedFile(path: index), limits: limits)
        guard let weightMap = document["weight_map"]?.object else {
            throw CabochonError(.invalidFile, "\(index): 'weight_map' is missing or not an object")
        }
        var shards: [String: SafetensorsFile] = [:]
        var paths: [String] = []
        var tensors: [String: StoredTensor] = [:]
        for (name, value) in weightMap.entries {
            guard let shardName = value.string, isPlainFileName(shardName) else {
                throw CabochonError(
                    .invalidFile, "\(index): the shard of tensor '\(name)' is not the name of a file in the folder")
            }
            let shard: SafetensorsFile
            if let opened = shards[shardName] {
                shard = opened
            } else {
                shard = try SafetensorsFile(path: "\(folder)/\(shardName)", copies: copies)
                shards[shardName] = shard
                paths.append(shard.path)
            }
            guard let tensor = shard.tensors[name] else {
                throw CabochonError(
                    .invalidFile, "\(index): tensor '\(name)' is not in \(shard.path), where the index puts it")
            }
            tensors[name] = tensor
        }
        return (tensors, paths)
    }

    /// Whether a name stays in its folder: no separator, neither `.` nor `..`, no zero byte.
    private static func isPlainFileName(_ name: String) -> Bool {
        !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
    }
}
