// Backends.swift - `cabochon backends`: what can compute here, and what was found and cannot.

import ArgumentParser
import Cabochon

struct BackendsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backends",
        abstract: "List the compute backends, best first, and those that cannot be used.",
        discussion: """
            Example: cabochon backends --json

            Backends are looked for in the folders of CABOCHON_BACKEND_PATH (absolute, separated by colons), then \
            in lib/cabochon of the installation. With --json an object: backends (name, version, path, priority, \
            cpu_features, same_bits), rejected (path, reason), threads.
            """)

    @OptionGroup var common: CommonOptions

    @Option(help: ArgumentHelp("Taken by every command; this one opens no model.", valueName: "path"))
    var model: String?

    func run() throws {
        let engine = try common.makeEngine()
        let backends = engine.backends
        if let name = common.backend { try backends.check(name) }
        if common.json {
            try Terminal.print(Self.describe(engine).text + "\n")
            return
        }
        var table = Table([
            "name": .left, "version": .left, "priority": .right, "same bits": .left, "needs": .left, "file": .left,
        ])
        for backend in backends {
            table.append(
                backend.name, backend.version, "\(backend.priority)", backend.givesSameBits ? "yes" : "no",
                backend.cpuFeatures.isEmpty ? "nothing" : backend.cpuFeatures.joined(separator: ", "),
                backend.path.isEmpty ? "(built in)" : backend.path)
        }
        try Terminal.print(table.text)
        for rejected in engine.rejectedBackends {
            try Terminal.print("not used: \(rejected.path): \(rejected.reason)\n")
        }
    }

    private static func describe(_ engine: Engine) -> JSONValue {
        let usable = engine.backends.map { backend -> JSONValue in
            .object([
                "name": .string(backend.name), "version": .string(backend.version), "path": .string(backend.path),
                "priority": .integer(backend.priority), "cpu_features": .strings(backend.cpuFeatures),
                "same_bits": .bool(backend.givesSameBits),
            ])
        }
        let rejected = engine.rejectedBackends.map { rejected -> JSONValue in
            .object(["path": .string(rejected.path), "reason": .string(rejected.reason)])
        }
        return .object([
            "backends": .array(usable), "rejected": .array(rejected),
            "threads": .integer(engine.threadCount),
        ])
    }
}

extension [BackendDescription] {
    /// Refuses a name that none of these answers to.
    func check(_ name: String) throws(Failure) {
        guard name == "simd" || contains(where: { $0.name == name || $0.path == name }) else {
            throw Failure("no backend \"\(name)\" here; there are: \(map(\.name).joined(separator: ", "))")
        }
    }
}
