// TextArgument.swift - the one text that a command works on, from where the user has it.

/// A text from an option, a file or standard input; of the last two a final line break is left out.
struct TextArgument {
    let text: String?
    let file: String?

    func read() throws(Failure) -> String {
        if let text { return text }
        if file == nil && Terminal.inputIsTerminal {
            Terminal.note("Type the text; Ctrl-D on a line of its own ends it.")
        }
        var text = if let file { try TextFile.read(file) } else { try TextFile.readStandardInput() }
        // As a scalar: a carriage return before it is the text's own.
        if text.unicodeScalars.last == "\n" { text.unicodeScalars.removeLast() }
        return text
    }
}
