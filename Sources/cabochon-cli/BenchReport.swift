// BenchReport.swift - results as a table for people, as JSON and as CSV for programs.

import Cabochon
import CabochonShims

struct BenchReport {
    let results: [BenchResult]

    var table: String {
        let measuresLimits = results.contains { $0.shareOfLimit != nil }
        var columns: [(String, Table.Alignment)] = [
            ("file", .left), ("type", .left), ("backend", .left), ("threads", .right), ("what", .left),
            ("tokens/s", .right), ("lowest", .right), ("highest", .right), ("MB/token", .right), ("GB/s", .right),
            ("GOPS", .right),
        ]
        if measuresLimits { columns += [("limit", .right), ("share", .right)] }
        var table = Table(columns)
        for result in results {
            var cells = [
                name(of: result.file.path), result.file.type, result.backend, "\(result.threads)",
                result.benchCase.words, rate(result.tokensPerSecond), rate(result.lowest), rate(result.highest),
                fixed(Double(result.bytesPerToken) / 1e6, 1),
                result.readBytesPerSecond.map { fixed($0 / 1e9, 1) } ?? "-", fixed(result.operationsPerSecond / 1e9, 1),
            ]
            if measuresLimits {
                cells.append(limit(of: result))
                cells.append(result.shareOfLimit.map { "\(fixed($0 * 100, 0)) %" } ?? "-")
            }
            table.append(cells)
        }
        return table.text
    }

    private func name(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    private func rate(_ tokensPerSecond: Double) -> String { fixed(tokensPerSecond, tokensPerSecond < 100 ? 2 : 1) }

    private func limit(of result: BenchResult) -> String {
        if case .decode = result.benchCase {
            return result.limit(\.readBytes).map { "\(fixed($0 / 1e9, 1)) GB/s" } ?? "-"
        }
        let arithmetic = result.file.arithmetic
        return result.limit { $0.operations(arithmetic) }.map { "\(fixed($0 / 1e9, 0)) GOPS" } ?? "-"
    }

    var json: JSONValue {
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

    /// A line of headings, then one for each result. Fields that do not apply are empty.
    var csv: String {
        let headings = results.first.map { fields(of: $0).map(\.key) } ?? []
        let lines = results.map { result in
            fields(of: result).map { field -> String in
                switch field.value {
                case .null: ""
                case .string(let text): quoted(text)
                default: field.value.text
                }
            }
        }
        return ([headings] + lines).map { $0.joined(separator: ",") + "\n" }.joined()
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
