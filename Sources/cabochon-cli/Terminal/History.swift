// History.swift - the lines typed before, kept between runs in the user's state folder.
//
// One line of the file is one entry, with backslash and line break escaped. The file is the user's
// alone (mode 0600): prompts are private. A history that cannot be read or written is no reason to
// fail; the conversation goes on without it.

import Glibc

struct History {
    private var entries: [String] = []
    private let path: String?
    private static let limit = 1000

    /// - Parameter path: the file; nil keeps the history in memory only.
    init(path: String? = History.defaultPath) {
        self.path = path
        guard let path, let file = try? TextFile.read(path) else { return }
        entries = file.split(separator: "\n").map { Self.unescape($0) }.suffix(Self.limit)
    }

    /// `cabochon/history` in XDG_STATE_HOME, or in ~/.local/state where that is unset or relative.
    static var defaultPath: String? {
        if let state = getenv("XDG_STATE_HOME").map({ String(cString: $0) }), state.hasPrefix("/") {
            return state + "/cabochon/history"
        }
        return getenv("HOME").map { String(cString: $0) + "/.local/state/cabochon/history" }
    }

    var count: Int { entries.count }

    /// The entry `age` lines back: 1 is the newest.
    subscript(age: Int) -> String {
        entries.indices.contains(entries.count - age) ? entries[entries.count - age] : ""
    }

    /// Adds a line, unless it is blank or repeats the one before.
    mutating func append(_ line: String) {
        guard line.contains(where: { !$0.isWhitespace }), line != entries.last else { return }
        entries.append(line)
        if entries.count > Self.limit { entries.removeFirst() }
        guard let path else { return }
        makeFolders(above: path)
        try? TextFile.write(entries.map { Self.escape($0) + "\n" }.joined(), to: path, mode: 0o600)
    }

    private func makeFolders(above path: String) {
        for (index, character) in zip(path.indices, path) where character == "/" && index > path.startIndex {
            mkdir(String(path[..<index]), 0o700)
        }
    }

    private static func escape(_ line: String) -> String {
        var escaped = ""
        for scalar in line.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\r": escaped += "\\r"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    private static func unescape(_ line: Substring) -> String {
        var text = ""
        var isEscaped = false
        for scalar in line.unicodeScalars {
            if isEscaped {
                text.unicodeScalars.append(scalar == "n" ? "\n" : scalar == "r" ? "\r" : scalar)
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}
