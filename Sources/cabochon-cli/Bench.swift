// Bench.swift - `cabochon bench`: how fast a model reads and writes tokens here, and how fast it could.

import ArgumentParser
import Cabochon
import Glibc

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure prefill and decode speed, and what the machine would allow.",
        discussion: """
            Example: cabochon bench --model gemma.gguf --threads 2 --limits

            Prefill is the time to read so many tokens and give the logits after the last; decode reads one token \
            and gives its logits, so many times, after as many tokens as --depth says. A run of each that is not \
            counted comes first: weights are packed by then, and the file is in memory. tokens/s is the median of \
            the repetitions. MB/token is the bytes of the file's weights and of the keys and values that a token \
            attends to, on average; GB/s, of decode, is that times the tokens per second; GOPS is two operations for \
            each parameter but the embedding's. With --limits the machine's rates are measured before and after each \
            repetition, and the share says how near each came: decode to the memory, prefill to the arithmetic on \
            the numbers that most of the weights are made of. Tokens are random, the same in each run. Rows are printed \
            as they are measured, and stand where a later one fails. With --json one object, at the end: processor_count, results (one object a row, in \
            which bytes_per_token is the weights' and kv_bytes_per_token the rest); with --csv a line of headings \
            and a line a row.
            """)

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("GGUF files, or folders in the Hugging Face layout.", valueName: "path"))
    var model: [String]

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Compute backends, as other commands take one. Without it: CABOCHON_BACKEND, else the best.",
            valueName: "name"))
    var backend: [String] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Counts of threads, as 1,2. Without it: as many as processors.", valueName: "counts"))
    var threads: NumberList?

    @Option(
        parsing: .unconditional, help: ArgumentHelp("Lengths of prompts to prefill; 0 for none.", valueName: "tokens"))
    var prompt = NumberList([512])

    @Option(parsing: .unconditional, help: ArgumentHelp("Tokens to decode in a row; 0 for none.", valueName: "tokens"))
    var decode = 64

    @Option(
        parsing: .unconditional, help: ArgumentHelp("Tokens that come before what is decoded.", valueName: "tokens"))
    var depth = NumberList([0, 1024, 4096])

    @Option(help: CacheType.help)
    var kvType = CacheType(.f16)

    @Option(parsing: .unconditional, help: ArgumentHelp("Repetitions of each.", valueName: "count"))
    var repetitions = 5

    @Flag(help: "Measure the machine's read bandwidth and arithmetic beside each repetition.")
    var limits = false

    @Flag(help: "Print JSON on standard output.")
    var json = false

    @Flag(help: "Print CSV on standard output.")
    var csv = false

    @Flag(name: .shortAndLong, help: "Log what the library does to standard error.")
    var verbose = false

    /// Tokens of one case. What a session of them takes is for the library to find or refuse.
    private static let mostTokens = 1 << 20

    func validate() throws {
        if json && csv { throw ValidationError("Give --json or --csv, not both.") }
        if model.contains("") { throw ValidationError("--model is empty; it is a file's or folder's path.") }
        if backend.contains("") { throw ValidationError("--backend is empty; it is a name or a path.") }
        let counts = threads?.numbers ?? []
        if !counts.allSatisfy({ (1...256).contains($0) }) { throw ValidationError("--threads are from 1 to 256.") }
        for (name, numbers) in [("--prompt", prompt.numbers), ("--depth", depth.numbers), ("--decode", [decode])] {
            guard numbers.allSatisfy({ $0 <= Self.mostTokens }) else {
                throw ValidationError("\(name) is at most \(Self.mostTokens).")
            }
        }
        guard decode >= 0 else { throw ValidationError("--decode is \(decode); it is at least 0.") }
        guard (1...10_000).contains(repetitions) else { throw ValidationError("--repetitions are from 1 to 10000.") }
        guard !cases.isEmpty else { throw ValidationError("There is nothing to measure: give --prompt or --decode.") }
    }

    private var cases: [BenchCase] {
        prompt.numbers.filter { $0 > 0 }.map { .prefill(tokens: $0) }
            + (decode > 0 ? depth.numbers.map { .decode(tokens: decode, depth: $0) } : [])
    }

    func run() throws {
        try check()
        var report = BenchReport(
            form: json ? .json : csv ? .csv : .table, names: model, cases: cases, measuresLimits: limits)
        do {
            for path in model {
                for backend in backend.isEmpty ? [nil] : backend.map(Optional.some) {
                    for threads in threads?.numbers ?? [0] {
                        try measure(path, backend: backend, threads: threads, into: &report)
                    }
                }
            }
        } catch {
            say("")
            try report.finish()
            throw error
        }
        try report.finish()
    }

    /// What can be known before anything is measured: a mistyped last name should not cost the hour before it.
    private func check() throws(Failure) {
        for path in model where access(path, F_OK) != 0 { throw Failure(path: path) }
        let backends = backend.isEmpty ? [] : try common(backend: nil, threads: 1).makeEngine().backends
        for name in backend {
            // A plugin's path is the library's to open.
            guard name.hasPrefix("/") else { try backends.check(name); continue }
            guard access(name, F_OK) == 0 else { throw Failure(path: name) }
        }
    }

    private func common(backend: String?, threads: Int) -> CommonOptions {
        var common = CommonOptions()
        common.backend = backend
        common.threads = threads == 0 ? nil : threads
        common.json = false
        common.verbose = verbose
        return common
    }

    /// All cases of one model on one backend; the model is gone from memory before the next one comes.
    private func measure(_ path: String, backend: String?, threads: Int, into report: inout BenchReport) throws {
        say("Loading \(path) ...")
        var options = ModelOptions()
        options.model = path
        let model = try options.load(common(backend: backend, threads: threads)) { $0.kvType = kvType.type }
        let run = try BenchRun(
            model: model, threads: threads == 0 ? model.engine.threadCount : threads, cases: cases,
            measuresLimits: limits)
        for benchCase in cases {
            say("\(path), \(model.backend), \(benchCase.words) ...")
            let result = try run.measure(benchCase, repetitions: repetitions)
            say("")
            try report.append(result)
        }
    }

    /// On a terminal, what takes so long; each text replaces the one before.
    private func say(_ text: String) {
        if Terminal.errorIsTerminal { Terminal.write("\r\u{1B}[K\(text)", to: STDERR_FILENO) }
    }
}

/// Numbers from 0 on with commas between them, as one word of the command line.
struct NumberList: ExpressibleByArgument, CustomStringConvertible {
    let numbers: [Int]

    init(_ numbers: [Int]) { self.numbers = numbers }

    init?(argument: String) {
        let words = argument.split(separator: ",", omittingEmptySubsequences: false)
        numbers = words.compactMap { UInt32($0).map(Int.init) }
        if numbers.count != words.count { return nil }
    }

    var description: String { numbers.map { "\($0)" }.joined(separator: ",") }
    var defaultValueDescription: String { description }
}
