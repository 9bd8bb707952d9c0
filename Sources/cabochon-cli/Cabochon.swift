// Cabochon.swift - the command `cabochon`: its subcommands, and what the exit status says.
//
// 0: done. 1: failed, or stopped by Ctrl-C. 2: bad usage. ArgumentParser would say 64 for the last, and
// prints by itself; hence the `main` of our own. Results are on standard output, everything else on
// standard error.

import ArgumentParser
import CCabochon
import Glibc

@main
struct CabochonCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cabochon",
        abstract: "Runs Google's Gemma 2 and Gemma 3 text models on CPUs.",
        discussion: """
            Example: cabochon generate --model gemma.gguf --prompt 'Once upon a time'

            Exit status: 0 done, 1 failed, 2 bad usage.
            """,
        version: "\(CABOCHON_VERSION_MAJOR).\(CABOCHON_VERSION_MINOR).\(CABOCHON_VERSION_PATCH)",
        subcommands: [
            GenerateCommand.self, ChatCommand.self, ClassifyCommand.self, EncodeCommand.self, FeaturesCommand.self,
            ScopeEvalCommand.self, TokenizeCommand.self, InspectCommand.self, BenchCommand.self, BackendsCommand.self,
        ])

    static func main() {
        Terminal.holdClosedDescriptors()
        do {
            do {
                // Where Swift takes them from. Without any this would be `cabochon` alone, which succeeds.
                guard CommandLine.argc > 0 else { throw Failure(path: "/proc/self/cmdline", reason: ENOENT) }
                try checkArguments()
                try checkHelp()
                var command = try parseAsRoot()
                try command.run()
            } catch  where !(error is Failure) {
                let status = exitCode(for: error)
                let message = fullMessage(for: error)
                if !message.isEmpty && status.isSuccess { try Terminal.print(message + "\n") }
                if !message.isEmpty && !status.isSuccess { Terminal.note(message) }
                Glibc.exit(status == .validationFailure ? 2 : status.rawValue)
            }
        } catch {
            if let failure = error as? Failure, !failure.message.isEmpty {
                Terminal.note("cabochon: \(failure.message)")
            }
            Glibc.exit(1)
        }
    }

    /// Swift repairs arguments with U+FFFD, and the model would read, or the system open, what nobody wrote.
    private static func checkArguments() throws {
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = CommandLine.unsafeArgv[index] else { return }
            guard String(validatingCString: argument) != nil else {
                throw ValidationError("Argument \(index) is not UTF-8: \(String(cString: argument))")
            }
        }
    }

    /// The parser's own `help` passes over words that it does not know.
    private static func checkHelp() throws {
        let words = CommandLine.arguments.dropFirst().filter { !$0.hasPrefix("-") }
        guard words.first == "help" else { return }
        let names = configuration.subcommands.map { $0.configuration.commandName } + ["help"]
        if let name = words.dropFirst().first, !names.contains(name) {
            throw ValidationError("There is no command '\(name)'.")
        }
        if let word = words.dropFirst(2).first { throw ValidationError("Unexpected argument '\(word)'") }
    }
}
