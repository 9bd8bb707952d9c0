// CommonOptions.swift - the options that every command takes, and the engine and model they ask for.

import ArgumentParser
import Cabochon
import Glibc

struct CommonOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Compute backend: a name that `cabochon backends` lists, "simd" for the best SIMD one, or the absolute \
            path of a plugin. Without it: CABOCHON_BACKEND, else the best.
            """,
            valueName: "name"))
    var backend: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Threads that compute. Without it: as many as processors.", valueName: "count"))
    var threads: Int?

    @Flag(help: "Print JSON on standard output.")
    var json = false

    @Flag(name: .shortAndLong, help: "Log what the library does to standard error.")
    var verbose = false

    func validate() throws {
        if backend == "" { throw ValidationError("--backend is empty; it is a name or a path.") }
        if let threads, !(1...256).contains(threads) {
            throw ValidationError("--threads is \(threads); it is from 1 to 256.")
        }
    }

    /// An engine that logs warnings to standard error, or everything with --verbose.
    func makeEngine() throws(Failure) -> Engine {
        var options = Engine.Options()
        options.threads = threads ?? 0
        let lowest = verbose ? LogLevel.debug : .warning
        options.log = { level, message in
            if level.rawValue >= lowest.rawValue { Terminal.note("cabochon: \(level): \(message)") }
        }
        return try orFail { () throws(CabochonError) in try Engine(options: options) }
    }
}

struct ModelOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A GGUF file, or a folder in the Hugging Face layout.", valueName: "path"))
    var model: String

    func validate() throws {
        if model.isEmpty { throw ValidationError("--model is empty; it is a file's or folder's path.") }
    }

    /// Opens the model; on a terminal, says so while it takes its time.
    func load(
        _ common: CommonOptions, configure: (inout Model.Options) -> Void = { _ in }
    ) throws(Failure) -> Model {
        // The library's message names what it opened; a missing path is said plainly and first.
        guard access(model, F_OK) == 0 else { throw Failure(path: model) }
        let engine = try common.makeEngine()
        var options = Model.Options()
        options.backend = common.backend
        configure(&options)
        let showsProgress = Terminal.errorIsTerminal
        if showsProgress { Terminal.write("Loading \(model) ...", to: STDERR_FILENO) }
        defer { if showsProgress { Terminal.write("\r\u{1B}[K", to: STDERR_FILENO) } }
        return try orFail { () throws(CabochonError) in try Model(path: model, engine: engine, options: options) }
    }
}
