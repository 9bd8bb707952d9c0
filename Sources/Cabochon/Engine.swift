// Engine.swift - what a process needs once: a thread pool, the backends found, a log.

import CabochonShims

public enum LogLevel: Int32, Sendable {
    case debug = 0, info, warning, error
}

/// A thread pool and the backends that this machine can run, shared by any number of models.
/// Immutable after creation; safe on any thread.
public final class Engine: Sendable {
    public struct Options: Sendable {
        /// Threads that compute, 1...256; 0 takes the processors this process may run on.
        public var threads = 0
        /// Absolute paths of plugin files, or of folders of them, searched before all others.
        public var backendPaths: [String] = []
        /// False: only the scalar backend, no code is loaded.
        public var loadsPlugins = true
        /// Called with one line, on any thread. Without it the library is silent.
        public var log: (@Sendable (LogLevel, String) -> Void)?

        public init() {}
    }

    let pool: ThreadPool
    let registry: BackendRegistry
    private let log: (@Sendable (LogLevel, String) -> Void)?

    /// - Throws: `.invalidArgument` for a thread count out of range, `.backend` where a plugin that
    ///   `backendPaths` names cannot be used.
    public init(options: Options = Options()) throws(CabochonError) {
        guard (0...256).contains(options.threads) else {
            throw CabochonError(
                .invalidArgument, "\(options.threads) threads: from 1 to 256, or 0 for as many as processors")
        }
        let threads = options.threads == 0 ? Int(cabochon_shim_processors().count) : options.threads
        pool = ThreadPool(threadCount: min(threads, 256))
        registry = try BackendRegistry(paths: options.backendPaths, loadsPlugins: options.loadsPlugins)
        log = options.log
        for rejected in registry.rejected { write(.info, "backend not taken: \(rejected.path): \(rejected.reason)") }
    }

    /// Backends that this machine can run, best first; "scalar" is the last of Cabochon's own. Asking
    /// prepares them all, which for BLAS opens its library.
    public var backends: [BackendDescription] {
        registry.creatable().map {
            BackendDescription(
                name: $0.name, version: $0.version, path: $0.path, priority: $0.priority,
                cpuFeatures: cpuFeatureNames($0.cpuFeatures), givesSameBits: $0.givesSameBits)
        }
    }

    /// Plugin files that were found and not taken, each with its reason.
    public var rejectedBackends: [RejectedBackend] { registry.rejected }

    /// Threads that compute, the caller's included: those asked for, as far as there are processors for them.
    public var threadCount: Int { pool.computingThreadCount }

    func write(_ level: LogLevel, _ message: @autoclosure () -> String) {
        log?(level, message().onOneLine)
    }
}
