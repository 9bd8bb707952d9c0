// BackendRegistry.swift - finds backends and says why it does not take the others.
//
// Search order: paths given in the options, then CABOCHON_BACKEND_PATH (ignored in set-uid
// programs), then the folder `cabochon` beside the library (or ../lib/cabochon beside a program).
// Never the current directory, never a bare name. A descriptor is read before any of the plugin's
// code runs: magic, ABI version, size, then the CPU features.

import CCabochonBackend
import CabochonShims
import Glibc
import ScalarBackend
import Synchronization

/// A backend that this machine can run.
public struct BackendDescription: Sendable {
    /// Its name, as `CABOCHON_BACKEND` and options spell it.
    public let name: String
    /// The backend's own version.
    public let version: String
    /// The plugin's file; empty for the scalar backend, which is part of the library.
    public let path: String
    /// The backend with the highest priority is the default.
    public let priority: Int
    /// CPU features that its kernels need.
    public let cpuFeatures: [String]
    /// Whether results are the same bits for every thread count, chunking and batch.
    public let givesSameBits: Bool
}

/// A plugin file that was found and not taken.
public struct RejectedBackend: Sendable {
    public let path: String
    public let reason: String

    init(path: String, reason: String) {
        self.path = path
        self.reason = reason
    }

    /// An error begins with the file that it is about, and so do the loader's words.
    init(path: String, error: CabochonError) {
        var reason = error.message[...]
        let start = "\(path): ".onOneLine
        while reason.hasPrefix(start) { reason = reason.dropFirst(start.count) }
        self.init(path: path, reason: String(reason))
    }
}

final class BackendRegistry: Sendable {
    static let simdNames: Set<String> = ["amx", "avx512", "avxvnni", "avx2", "neon"]

    let scalar: Backend
    private let found: Mutex<(usable: [Backend], rejected: [RejectedBackend])>
    private let loadsPlugins: Bool

    var usable: [Backend] { found.withLock { $0.usable } }
    var rejected: [RejectedBackend] { found.withLock { $0.rejected } }

    init(paths: [String], loadsPlugins: Bool) throws(CabochonError) {
        let scalar = try Backend(descriptor: scalarBackendDescriptor(), path: "")
        var usable: [Backend] = []
        var rejected: [RejectedBackend] = []
        for (file, isExplicit) in loadsPlugins ? Self.candidates(paths: paths) : [] {
            do throws(CabochonError) {
                let backend = try Self.load(path: file)
                // The first of a name wins: an explicit path overrides the folder beside the library.
                if backend.name == scalar.name || usable.contains(where: { $0.name == backend.name }) {
                    rejected.append(
                        RejectedBackend(path: file, reason: "a backend named \"\(backend.name)\" came first"))
                } else {
                    usable.append(backend)
                }
            } catch {
                if isExplicit { throw error }
                rejected.append(RejectedBackend(path: file, error: error))
            }
        }
        // A plugin below the scalar backend (one that shows something, or only listens) is never the default.
        usable.append(scalar)
        usable.sort(by: Self.isFitter)
        self.scalar = scalar
        self.found = Mutex((usable, rejected))
        self.loadsPlugins = loadsPlugins
    }

    private static func isFitter(_ a: Backend, _ b: Backend) -> Bool { (a.priority, b.name) > (b.priority, a.name) }

    /// A backend ready to compute.
    ///
    /// - Parameter name: a name, "simd" for the best SIMD one, the absolute path of a plugin, or nil
    ///   for CABOCHON_BACKEND's and else the best that can be created.
    func backend(named name: String?) throws(CabochonError) -> Backend {
        guard let name = name ?? Self.nameInEnvironment else { return bestCreatable() }
        if name == "simd", let best = usable.first(where: Self.isCreatableSIMD) { return best }
        let backend = name.hasPrefix("/") ? try loadExplicitly(path: name) : try find(name)
        try backend.create()
        return backend
    }

    /// CABOCHON_BACKEND's; nil where that is empty, as a shell leaves what it unsets for one command.
    private static var nameInEnvironment: String? {
        guard let name = cabochon_shim_secure_environment("CABOCHON_BACKEND").flatMap({ String(validatingCString: $0) })
        else { return nil }
        return name.isEmpty ? nil : name
    }

    /// Backends that can be created here, best first. Creates them all.
    func creatable() -> [Backend] {
        usable.filter { backend in
            do throws(CabochonError) {
                try backend.create()
                return true
            } catch {
                found.withLock { state in
                    guard !state.rejected.contains(where: { $0.path == backend.path }) else { return }
                    state.rejected.append(RejectedBackend(path: backend.path, error: error))
                }
                return false
            }
        }
    }

    private func bestCreatable() -> Backend {
        for backend in usable where (try? backend.create()) != nil { return backend }
        return scalar
    }

    private static func isCreatableSIMD(_ backend: Backend) -> Bool {
        simdNames.contains(backend.name) && (try? backend.create()) != nil
    }

    private func find(_ name: String) throws(CabochonError) -> Backend {
        let match =
            name == "simd"
            ? usable.first { Self.simdNames.contains($0.name) } : usable.first { $0.name == name }
        if let match { return match }
        let names = usable.map(\.name).joined(separator: ", ")
        let reasons = rejected.filter { $0.path.hasSuffix("-\(name).so") }.map { "; \($0.path): \($0.reason)" }.joined()
        throw CabochonError(.backend, "no backend \"\(name)\" on this machine (there are: \(names))\(reasons)")
    }

    private func loadExplicitly(path: String) throws(CabochonError) -> Backend {
        guard loadsPlugins else { throw CabochonError(.backend, "\(path): loading backends is switched off") }
        // Under the lock: two threads that name the same file get the same backend.
        let result = found.withLock { state in
            if let known = state.usable.first(where: { $0.path == path }) {
                return Result<Backend, CabochonError>.success(known)
            }
            do throws(CabochonError) {
                let backend = try Self.load(path: path)
                state.usable.append(backend)
                state.usable.sort(by: Self.isFitter)
                return .success(backend)
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// Every file to try, in order, and whether the caller named it himself.
    private static func candidates(paths: [String]) -> [(path: String, isExplicit: Bool)] {
        var result: [(String, Bool)] = []
        for path in paths {
            let files = plugins(inFolder: path)
            result += files.isEmpty ? [(path, true)] : files.map { ($0, false) }
        }
        if let variable = cabochon_shim_secure_environment("CABOCHON_BACKEND_PATH"),
            let list = String(validatingCString: variable)
        {
            for folder in list.split(separator: ":") where folder.hasPrefix("/") {
                result += plugins(inFolder: String(folder)).map { ($0, false) }
            }
        }
        result += foldersBesideLibrary().flatMap(plugins(inFolder:)).map { ($0, false) }
        var seen: Set<String> = []
        return result.filter { seen.insert(resolved($0.0) ?? $0.0).inserted }
    }

    /// A file's one path among all that lead to it; nil for none.
    private static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func foldersBesideLibrary() -> [String] {
        var path = [CChar](repeating: 0, count: 4096)
        let length = path.withUnsafeMutableBufferPointer { cabochon_shim_own_path($0.baseAddress, $0.count) }
        let own = path.prefix(length).map { UInt8(bitPattern: $0) }
        guard let slash = own.lastIndex(of: UInt8(ascii: "/")) else { return [] }
        let folder = String(decoding: own[..<slash], as: UTF8.self)
        return ["\(folder)/cabochon", "\(folder)/../lib/cabochon"]
    }

    private static func plugins(inFolder folder: String) -> [String] {
        guard folder.hasPrefix("/"), let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix("libcabochon-"), name.hasSuffix(".so") { names.append("\(folder)/\(name)") }
        }
        return names.sorted()
    }

    private static func load(path: String) throws(CabochonError) -> Backend {
        let file = try checkedFile(path: path)
        var message = [CChar](repeating: 0, count: 1024)
        let symbol = message.withUnsafeMutableBufferPointer {
            cabochon_shim_load_symbol(file, "cabochon_backend_v1", $0.baseAddress, $0.count)
        }
        guard let symbol else {
            let words = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw CabochonError(.backend, "\(path): cannot be loaded: \(words)")
        }
        return try Backend(
            descriptor: check(symbol.assumingMemoryBound(to: cabochon_backend_descriptor.self), path), path: path)
    }

    /// A plugin is code: it must be a regular file of root's, ours or the library's owner that is not for all to
    /// write, in such a folder. Whose library runs here already can do no more by a plugin; it may be another user
    /// who installed both.
    private static func checkedFile(path: String) throws(CabochonError) -> String {
        guard path.hasPrefix("/") else { throw CabochonError(.backend, "\(path): a backend needs an absolute path") }
        guard let resolved = resolved(path) else {
            throw CabochonError(.backend, "\(path): \(String(cString: strerror(errno)))")
        }
        var information = stat()
        guard stat(resolved, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
            throw CabochonError(.backend, "\(path): not a regular file")
        }
        func isTrusted(_ owner: uid_t) -> Bool {
            owner == 0 || owner == geteuid() || cabochon_shim_owns_own_file(owner) != 0
        }
        guard isTrusted(information.st_uid), information.st_mode & 0o002 == 0 else {
            throw CabochonError(.backend, "\(path): owned or writable by others, so it is not loaded")
        }
        // Nor may others be able to put another file in its place.
        let folder = resolved.split(separator: "/").dropLast().map { "/\($0)" }.joined()
        guard stat("\(folder)/", &information) == 0, isTrusted(information.st_uid),
            information.st_mode & 0o002 == 0 || information.st_mode & S_ISVTX != 0
        else {
            throw CabochonError(.backend, "\(path): its folder is owned or writable by others, so it is not loaded")
        }
        return resolved
    }

    private static func check(
        _ symbol: UnsafePointer<cabochon_backend_descriptor>, _ path: String
    ) throws(CabochonError) -> cabochon_backend_descriptor {
        // The fields up to struct_size never move; the rest is read only once the size is known.
        let size = MemoryLayout<cabochon_backend_descriptor>.size
        guard symbol.pointee.magic == CABOCHON_BACKEND_MAGIC else {
            throw CabochonError(.backend, "\(path): not a Cabochon backend (wrong magic)")
        }
        guard symbol.pointee.abi_major == UInt32(CABOCHON_BACKEND_ABI_MAJOR) else {
            throw CabochonError(
                .backend,
                "\(path): made for backend ABI \(symbol.pointee.abi_major), this library has \(CABOCHON_BACKEND_ABI_MAJOR)"
            )
        }
        guard symbol.pointee.struct_size >= size else {
            throw CabochonError(
                .backend, "\(path): its descriptor has \(symbol.pointee.struct_size) bytes, not \(size)")
        }
        let missing = symbol.pointee.cpu_features & ~cabochon_shim_cpu_features()
        guard missing == 0 else {
            let names = cpuFeatureNames(missing).joined(separator: ", ")
            throw CabochonError(.backend, "\(path): this machine lacks \(names)")
        }
        return symbol.pointee
    }
}

/// The names of CABOCHON_CPU_ bits.
func cpuFeatureNames(_ features: UInt64) -> [String] {
    let names: [(UInt64, String)] = [
        (CABOCHON_CPU_AVX2, "AVX2"), (CABOCHON_CPU_FMA, "FMA"), (CABOCHON_CPU_F16C, "F16C"),
        (CABOCHON_CPU_AVX512, "AVX-512"), (CABOCHON_CPU_AVX512_VNNI, "AVX-512 VNNI"),
        (CABOCHON_CPU_AVX512_BF16, "AVX-512 BF16"), (CABOCHON_CPU_AVX512_VBMI, "AVX-512 VBMI"),
        (CABOCHON_CPU_AVX_VNNI, "AVX-VNNI"), (CABOCHON_CPU_AMX_INT8, "AMX INT8"), (CABOCHON_CPU_AMX_BF16, "AMX BF16"),
        (CABOCHON_CPU_NEON, "NEON"), (CABOCHON_CPU_DOTPROD, "DotProd"),
    ]
    let known = names.reduce(0) { $0 | $1.0 }
    let unknown = features & ~known
    return names.filter { features & $0.0 != 0 }.map(\.1)
        + (unknown == 0 ? [] : ["feature bits 0x\(String(unknown, radix: 16))"])
}
