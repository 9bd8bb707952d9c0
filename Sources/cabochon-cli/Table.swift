// Table.swift - rows of text in columns, for people; programs take --json.

import Cabochon

struct Table {
    private var rows: [[String]]
    private let alignments: [Alignment]

    enum Alignment { case left, right }

    /// - Parameter columns: heading and alignment of each.
    init(_ columns: KeyValuePairs<String, Alignment>) { self.init(columns.map { ($0.key, $0.value) }) }

    init(_ columns: [(heading: String, alignment: Alignment)]) {
        rows = [columns.map(\.heading)]
        alignments = columns.map(\.alignment)
    }

    mutating func append(_ cells: String...) { append(cells) }
    mutating func append(_ cells: [String]) { rows.append(cells.map(oneLine)) }

    /// The rows under their headings, two blanks between columns, none at a line's end.
    var text: String {
        let widths = alignments.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { Self.line($0, alignments, widths) }.joined()
    }

    /// One row in columns of these widths; a cell that is wider moves what comes after it.
    static func line(_ row: [String], _ alignments: [Alignment], _ widths: [Int]) -> String {
        let cells = row.indices.map { column in
            let blanks = String(repeating: " ", count: max(0, widths[column] - row[column].count))
            return alignments[column] == .right ? blanks + row[column] : row[column] + blanks
        }
        let line = cells.joined(separator: "  ")
        return String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
    }
}

/// `text`, as a JSON string where it has line breaks (chat templates do, and file names may) or other control characters.
func oneLine(_ text: String) -> String {
    text.utf8.contains { $0 < 0x20 || $0 == 0x7F } ? JSONValue.string(text).text : text
}

/// `value` with a fixed number of decimals.
func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = Int64((abs(value) * scale).rounded())
    let sign = value < 0 && scaled != 0 ? "-" : ""
    guard decimals > 0 else { return "\(sign)\(scaled)" }
    let fraction = String(scaled % Int64(scale))
    return "\(sign)\(scaled / Int64(scale))." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// A count of bytes as a person reads it: "246.1 MB" (of 1000 each).
func byteCount(_ bytes: Int) -> String {
    var value = Double(bytes)
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 1000 { return unit == "bytes" ? "\(bytes) bytes" : "\(fixed(value, 1)) \(unit)" }
        value /= 1000
    }
    return "\(fixed(value, 1)) TB"
}
