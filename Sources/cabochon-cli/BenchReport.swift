// BenchReport.swift - results as a table for people, as JSON and as CSV for programs.

import Cabochon
import CabochonShims

/// Prints each result when it is there, so that none is lost with what fails or is stopped after it; as JSON, which
/// is one document, at the end.
struct BenchReport {
    enum Form { case table, json, csv }

    private let form: Form
    private let measuresLimits: Bool
    /// Heading, alignment and width of each column: what is known of the rows to come.
    private let columns: [(heading: String, alignment: Table.Alignment, width: Int)]
    private var results: [BenchResult] = []

    /// - Parameter names: paths of the models that will come.
    init(form: Form, names: [String], cases: [BenchCase], measuresLimits: Bool) {
        self.form = form
        self.measuresLimits = measuresLimits
        var columns: [(heading: String, alignment: Table.Alignment, width: Int)] = [
            ("file", .left, names.map { Self.name(of: $0).count }.max() ?? 0), ("type", .left, 6),
            ("backend", .left, 7), ("threads", .right, 7), ("what", .left, cases.map(\.words.count).max() ?? 0),
            ("tokens/s", .right, 8), ("lowest", .right, 8), ("highest", .right, 8), ("MB/token", .right, 8),
            ("GB/s", .right, 6), ("GOPS", .right, 7),
        ]
        if measuresLimits { columns += [("limit", .right, 10), ("share", .right, 5)] }
        self.columns = columns.map { ($0.heading, $0.alignment, max($0.width, $0.heading.count)) }
    }

    mutating func append(_ result: BenchResult) throws(Failure) {
        let isFirst = results.isEmpty
        results.append(result)
        switch form {
        case .table: try Terminal.print((isFirst ? line(columns.map(\.heading)) : "") + line(cells(of: result)))
        case .csv:
            let headings = fields(of: result).map(\.key).joined(separator: ",") + "\n"
            try Terminal.print((isFirst ? headings : "") + csv(of: result))
        case .json: break
        }
    }

    /// Prints what waits for the last result; nothing where there is none.
    func finish() throws(Failure) {
        if form == .json && !results.isEmpty { try Terminal.print(json.text + "\n") }
    }

    private func line(_ cells: [String]) -> String {
        Table.line(cells, columns.map(\.alignment), columns.map(\.width))
    }

    private func cells(of result: BenchResult) -> [String] {
        var cells = [
            Self.name(of: result.file.path), result.file.type, result.backend, "\(result.threads)",
            result.benchCase.words, rate(result.tokensPerSecond), rate(result.lowest), rate(result.highest),
            fixed(Double(result.bytesPerToken + result.kvBytesPerToken) / 1e6, 1),
            result.readBytesPerSecond.map { fixed($0 / 1e9, 1) } ?? "-", fixed(result.operationsPerSecond / 1e9, 1),
        ]
        if measuresLimits {
            cells.append(limit(of: result))
            cells.append(result.shareOfLimit.map { "\(fixed($0 * 100, 0)) %" } ?? "-")
        }
        return cells
    }

    private static func name(of path: String) -> String {
        oneLine(path.split(separator: "/").last.map(String.init) ?? path)
    }

    private func rate(_ tokensPerSecond: Double) -> String { fixed(tokensPerSecond, tokensPerSecond < 100 ? 2 : 1) }

    private func limit(of result: BenchResult) -> String {
        if case .decode = result.benchCase {
            return result.limit(\.readBytes).map { "\(fixed($0 / 1e9, 1)) GB/s" } ?? "-"
        }
        let arithmetic = result.file.arithmetic
        return result.limit { $0.operations(arithmetic) }.map { "\(fixed($0 / 1e9, 0)) GOPS" } ?? "-"
    }

    private var json: JSONValue {
        .object([
            "processor_count": .integer(Int(cabochon_shim_processors().count)),
            "results": .array(
                results.map { result in
                    var object = JSONObject()
                    for (key, value) in fields(of: result) { _ = object.append(key: key, value: value) }
                    let rates = result.samples.map { JSONValue.number($0.tokensPerSecond) }
                    _ = object.append(key: "samples", value: .array(rates))
                    return .object(object)
                }),
        ])
    }

    /// Fields that do not apply are empty.
    private func csv(of result: BenchResult) -> String {
        let cells = fields(of: result).map { field -> String in
            switch field.value {
            case .null: ""
            case .string(let text): quoted(text)
            default: field.value.text
            }
        }
        return cells.joined(separator: ",") + "\n"
    }

    private func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else { return text }
        return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    /// Rates in units of a second: bytes, operations.
    private func fields(of result: BenchResult) -> KeyValuePairs<String, JSONValue> {
        func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
        return [
            "model": .string(result.file.path), "file_type": .string(result.file.type),
            "backend": .string(result.backend), "threads": .integer(result.threads),
            "what": .string(result.benchCase.name), "tokens": .integer(result.benchCase.tokens),
            "depth": .integer(result.benchCase.depth), "repetitions": .integer(result.samples.count),
            "tokens_per_second": .number(result.tokensPerSecond), "tokens_per_second_min": .number(result.lowest),
            "tokens_per_second_max": .number(result.highest), "bytes_per_token": .integer(result.bytesPerToken),
            "kv_type": .string("\(result.file.kvType)"), "kv_bytes_per_token": .integer(result.kvBytesPerToken),
            "bytes_per_second": number(result.readBytesPerSecond),
            "operations_per_token": .integer(result.file.operationsPerToken),
            "operations_per_second": .number(result.operationsPerSecond),
            "limit_bytes_per_second": number(result.limit(\.readBytes)),
            "limit_int8_per_second": number(result.limit(\.int8Operations)),
            "limit_bf16_per_second": number(result.limit(\.bf16Operations)),
            "limit_f32_per_second": number(result.limit(\.f32Operations)),
            "share_of_limit": number(result.shareOfLimit),
        ]
    }
}
