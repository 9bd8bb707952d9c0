// ChatLines.swift - where a chat's lines come from: a person at the terminal, or a file or pipe.
//
// The editor draws on standard output, so it needs a terminal at both ends; otherwise lines are
// taken as they come, with no prompt among the results.

struct ChatLines {
    private var editor: LineEditor?
    private let reader = LineReader.standardInput()
    private var count = 0

    /// Whether a person is typing.
    var isInteractive: Bool { editor != nil }

    init() {
        if Terminal.inputIsTerminal && Terminal.outputIsTerminal { editor = LineEditor(history: History()) }
    }

    mutating func next() throws(Failure) -> LineEditor.Outcome {
        if let outcome = editor?.readLine(prompt: "> ") { return outcome }
        guard var bytes = try reader.next() else { return .endOfInput }
        count += 1
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let line = String(validating: bytes, as: UTF8.self) else {
            throw Failure("standard input, line \(count): not UTF-8 text")
        }
        return .line(line)
    }
}
