// LineEditor.swift - reads a line from the terminal, with editing and history.
//
// Our own, some 300 lines with its neighbours: GNU readline's licence would bind the whole program,
// libedit would be one more thing to install beside a program that needs nothing, and neither counts
// a wide character or an emoji of several code points as one. The screen is redrawn whole after each
// key, from the prompt's first row down, which is what keeps it simple and right when lines wrap.

import Glibc

struct LineEditor {
    enum Outcome {
        case line(String)
        /// Ctrl-C.
        case interrupted
        /// Ctrl-D on an empty line, or the terminal is gone.
        case endOfInput
    }

    private var keys = KeyReader()
    var history: History
    /// The row of the cursor below the prompt's first row, as last drawn.
    private var drawnRow = 0

    init(history: History) {
        self.history = history
    }

    /// Shows `prompt` (printable ASCII) and edits a line until Enter.
    mutating func readLine(prompt: String) -> Outcome {
        guard let rawMode = RawMode() else { return .endOfInput }
        let outcome = edit(prompt: prompt, rawMode: rawMode)
        rawMode.restore()
        if case .line(let line) = outcome { history.append(line) }
        return outcome
    }

    private mutating func edit(prompt: String, rawMode: borrowing RawMode) -> Outcome {
        var buffer = LineBuffer()
        // How far back in the history the line comes from, and what was typed before going there.
        var age = 0
        var typed = ""
        drawnRow = 0
        draw(prompt, buffer)
        while true {
            switch keys.next() {
            case .enter:
                finish(prompt, &buffer)
                return .line(buffer.text)
            case .control("c"):
                finish(prompt, &buffer)
                return .interrupted
            case .control("d") where buffer.isEmpty, .endOfInput:
                finish(prompt, &buffer)
                return .endOfInput
            case .control("z"):
                finish(prompt, &buffer)
                rawMode.suspend()
                drawnRow = 0
            case .control("l"):
                Terminal.write("\u{1B}[H\u{1B}[2J", to: STDOUT_FILENO)
                drawnRow = 0
            case .up, .control("p"):
                guard age < history.count else { continue }
                if age == 0 { typed = buffer.text }
                age += 1
                buffer = LineBuffer(history[age])
            case .down, .control("n"):
                guard age > 0 else { continue }
                age -= 1
                buffer = LineBuffer(age == 0 ? typed : history[age])
            case .text(let text): buffer.insert(text)
            case .paste(let text): buffer.insert(text.hasSuffix("\n") ? String(text.dropLast()) : text)
            case .tab: buffer.insert("    ")
            case .backspace, .control("h"): buffer.eraseBackward()
            case .delete, .control("d"): buffer.eraseForward()
            case .left, .control("b"): buffer.moveLeft()
            case .right, .control("f"): buffer.moveRight()
            case .wordLeft: buffer.moveWordLeft()
            case .wordRight: buffer.moveWordRight()
            case .home, .control("a"): buffer.moveToStart()
            case .end, .control("e"): buffer.moveToEnd()
            case .control("k"): buffer.eraseToEnd()
            case .control("u"): buffer.eraseToStart()
            case .control("w"): buffer.eraseWordBackward()
            case .escape, .control: continue
            }
            draw(prompt, buffer)
        }
    }

    private mutating func finish(_ prompt: String, _ buffer: inout LineBuffer) {
        buffer.moveToEnd()
        draw(prompt, buffer)
        Terminal.write("\n", to: STDOUT_FILENO)
    }

    /// Redraws everything in one write: no flicker, and nothing half drawn.
    private mutating func draw(_ prompt: String, _ buffer: LineBuffer) {
        let columns = Terminal.columns
        let (cursor, end) = buffer.places(indent: prompt.count, columns: columns)
        var output = "\r"
        if drawnRow > 0 { output += "\u{1B}[\(drawnRow)A" }
        output += "\u{1B}[J" + prompt + buffer.text
        // A terminal keeps the cursor on a row that is exactly full until the next character.
        if end.column == 0, end.row > 0, buffer.characters.last != "\n" { output += "\r\n" }
        if end.row > cursor.row { output += "\u{1B}[\(end.row - cursor.row)A" }
        output += "\r"
        if cursor.column > 0 { output += "\u{1B}[\(cursor.column)C" }
        drawnRow = cursor.row
        Terminal.write(output, to: STDOUT_FILENO)
    }
}
