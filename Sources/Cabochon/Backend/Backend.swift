// Backend.swift - a compute backend that has passed every check: name, table, host.

import CCabochonBackend
import CabochonShims
import ScalarBackend
import Synchronization

/// A backend that this machine can run. Lives as long as the process: plugins are never unloaded.
final class Backend: @unchecked Sendable {
    let name: String
    let version: String
    let path: String
    let priority: Int
    let cpuFeatures: UInt64
    let givesSameBits: Bool
    /// Whether encoding sparse features is faster with a screen.
    let usesScreens: Bool
    /// Whether its linear op keeps to backend.h's bound.
    let boundsProducts: Bool
    /// A copy of the plugin's table, entries beyond its struct_size NULL.
    let ops: cabochon_backend_ops
    /// What the plugin's ops get as `self`; nil until `create`, and for plugins without one.
    var instance: UnsafeMutableRawPointer? { ownInstance.load(ordering: .acquiring) }
    private let ownInstance = Atomic<UnsafeMutableRawPointer?>(nil)
    /// The plugin's own table, whose address tells plugins apart.
    private let table: UInt

    /// What each plugin's `create` answered and made, once for the process however many engines use it. Behind
    /// CABOCHON_LOCK_BACKENDS, since a child of fork() that makes an engine needs it.
    nonisolated(unsafe) private static var created: [UInt: (status: Int32, instance: UnsafeMutableRawPointer?)] = [:]
    /// Lent to plugins for as long as the process lives, and so never given back.
    nonisolated(unsafe) private static let host: UnsafePointer<cabochon_host> = {
        let host = UnsafeMutablePointer<cabochon_host>.allocate(capacity: 1)
        host.initialize(to: makeHost())
        return UnsafePointer(host)
    }()

    /// - Parameter descriptor: checked for magic and ABI version; outlives the process's use of it.
    init(descriptor: cabochon_backend_descriptor, path: String) throws(CabochonError) {
        guard let rawName = descriptor.name, let name = String(validatingCString: rawName), !name.isEmpty,
            let table = descriptor.ops
        else { throw CabochonError(.backend, "\(path): the backend's descriptor has no name or no ops") }
        self.name = name
        self.version = descriptor.version.flatMap { String(validatingCString: $0) } ?? ""
        self.path = path
        self.priority = Int(descriptor.priority)
        self.cpuFeatures = descriptor.cpu_features
        self.givesSameBits = descriptor.flags & CABOCHON_BACKEND_SAME_BITS != 0
        self.usesScreens = descriptor.flags & CABOCHON_BACKEND_SCREENS != 0
        self.boundsProducts = descriptor.flags & CABOCHON_BACKEND_BOUNDED_PRODUCTS != 0
        self.ops = try Self.copy(table: table, path: path)
        self.table = UInt(bitPattern: table)
    }

    /// Lets the plugin prepare itself, once, before its first op. Not earlier: a plugin that nobody
    /// computes with should cost its host nothing (OpenBLAS starts threads when it is opened).
    func create() throws(CabochonError) {
        cabochon_shim_lock(Int32(CABOCHON_LOCK_BACKENDS))
        defer { cabochon_shim_unlock(Int32(CABOCHON_LOCK_BACKENDS)) }
        var made = Self.created[table] ?? (status: 0, instance: nil)
        if Self.created[table] == nil {
            if let create = ops.create { made.status = create(Self.host, &made.instance) }
            Self.created[table] = made
        }
        guard made.status == 0 else {
            throw CabochonError(.backend, "\(path): backend \"\(name)\" could not be created on this machine")
        }
        ownInstance.store(made.instance, ordering: .releasing)
    }

    /// The table may be of an older header (shorter) or a newer one (longer): what this host knows of it.
    private static func copy(
        table: UnsafePointer<cabochon_backend_ops>, path: String
    ) throws(CabochonError) -> cabochon_backend_ops {
        let size = table.pointee.struct_size
        guard size >= MemoryLayout<Int>.size, size.isMultiple(of: MemoryLayout<Int>.size), size <= 1 << 16 else {
            throw CabochonError(.backend, "\(path): the backend's op table says it has \(size) bytes")
        }
        var ops = cabochon_backend_ops()
        withUnsafeMutableBytes(of: &ops) { known in
            known.copyMemory(from: UnsafeRawBufferPointer(start: table, count: min(size, known.count)))
        }
        return ops
    }

    private static func makeHost() -> cabochon_host {
        var host = cabochon_host()
        host.struct_size = MemoryLayout<cabochon_host>.size
        host.abi_major = UInt32(CABOCHON_BACKEND_ABI_MAJOR)
        host.abi_minor = UInt32(CABOCHON_BACKEND_ABI_MINOR)
        host.cpu_features = cabochon_shim_cpu_features()
        host.allocate = { cabochon_shim_reserve_pages($0, 1) }
        host.release = { cabochon_shim_release_pages($0, $1) }
        host.dequantize = { type, source, destination, count in
            guard let source, let destination, dequantize(type: type, from: source, to: destination, count: count)
            else { return -1 }
            return 0
        }
        return host
    }
}
