// LabelledRows.swift - labelled data sets in the forms in which they are published.
//
//     Cabochon's own      {"prompt": ..., "response": ..., "labels": {"harassment": 1, "violence": 0}}, one a line
//     OpenAI Moderation   samples-1680.jsonl: {"prompt": ..., "S": 0, "H": 1, ...}; a category without a label is
//                         left out. S and S3 (sexual) are sexually_explicit, H and H2 hate_speech, HR harassment,
//                         SH (self-harm) dangerous_content, V and V2 violence; the undesired rows are those with any
//     ToxicChat           toxic-chat_annotation_*.csv: user_input is judged, toxicity is the label of all policies

import Cabochon
import Glibc

struct LabelledRow {
    let content: GuardRow
    /// By policy; a policy that is not there has no label for this row.
    var labels: [String: Bool] = [:]
    /// Whether the row violates any policy.
    var isAnyViolated: Bool
}

enum LabelledRows {
    /// Rows of a file, and for each row that could not be read its line and why.
    static func read(_ path: String) throws(Failure) -> (rows: [LabelledRow], bad: [(line: Int, reason: String)]) {
        let text = try TextFile.readDocument(path)
        let isJSON = text.utf8.first { !" \t\r\n".utf8.contains($0) } == UInt8(ascii: "{")
        return isJSON ? readLines(text) : try readToxicChat(text, path)
    }

    // MARK: JSON, one object a line

    private static func readLines(_ text: String) -> (rows: [LabelledRow], bad: [(line: Int, reason: String)]) {
        var rows: [LabelledRow] = []
        var bad: [(line: Int, reason: String)] = []
        // As bytes: a carriage return and a line feed are one Character.
        let lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            guard !LineReader.isBlank(line) else { continue }
            do throws(Failure) {
                rows.append(try row(String(Substring(line))))
            } catch {
                bad.append((index + 1, error.message))
            }
        }
        return (rows, bad)
    }

    private static func row(_ line: String) throws(Failure) -> LabelledRow {
        let value = try orFail { () throws(CabochonError) in try JSON.parse(line, name: "row") }
        guard case .object(let object) = value, case .string(let prompt)? = object["prompt"] else {
            throw Failure("no \"prompt\"")
        }
        var content = GuardRow(prompt: prompt)
        switch object["response"] {
        case nil, .null?: break
        case .string(let response)?: content.response = response
        default: throw Failure("\"response\" is no text")
        }
        let labels: [(String, Bool)]
        if let given = object["labels"] {
            guard case .object(let entries) = given else { throw Failure("\"labels\" is no object") }
            labels = try entries.entries.map { entry throws(Failure) in (entry.key, try label(entry.value, entry.key)) }
        } else {
            labels = try openAILabels(object)
        }
        guard !labels.isEmpty else { throw Failure("no labels") }
        var row = LabelledRow(content: content, isAnyViolated: labels.contains { $0.1 })
        for (policy, isViolated) in labels { row.labels[policy] = row.labels[policy] == true || isViolated }
        return row
    }

    private static let openAICategories: [(key: String, policy: String)] = [
        ("S", "sexually_explicit"), ("S3", "sexually_explicit"), ("H", "hate_speech"), ("H2", "hate_speech"),
        ("HR", "harassment"), ("SH", "dangerous_content"), ("V", "violence"), ("V2", "violence"),
    ]

    private static func openAILabels(_ object: JSONObject) throws(Failure) -> [(String, Bool)] {
        var labels: [(String, Bool)] = []
        for (key, policy) in openAICategories {
            if let value = object[key] { labels.append((policy, try label(value, key))) }
        }
        return labels
    }

    private static func label(_ value: JSONValue, _ name: String) throws(Failure) -> Bool {
        switch value {
        case .bool(let value): return value
        case .integer(0), .number(0): return false
        case .integer(1), .number(1): return true
        default: throw Failure("the label \"\(name)\" is neither 0 nor 1")
        }
    }

    // MARK: CSV

    private static func readToxicChat(
        _ text: String, _ path: String
    ) throws(Failure) -> (rows: [LabelledRow], bad: [(line: Int, reason: String)]) {
        var records = CSV.records(text)
        guard !records.isEmpty else { throw Failure("\(path): empty") }
        let header = records.removeFirst().fields
        guard let input = header.firstIndex(of: "user_input"), let label = header.firstIndex(of: "toxicity") else {
            throw Failure("\(path): neither JSON lines nor a CSV file with the columns user_input and toxicity")
        }
        var rows: [LabelledRow] = []
        var bad: [(line: Int, reason: String)] = []
        for record in records {
            guard record.fields.count == header.count else {
                bad.append((record.line, "\(record.fields.count) fields, not \(header.count)"))
                continue
            }
            guard let isToxic = ["0": false, "1": true][record.fields[label]] else {
                bad.append((record.line, "toxicity is neither 0 nor 1"))
                continue
            }
            rows.append(LabelledRow(content: GuardRow(prompt: record.fields[input]), isAnyViolated: isToxic))
        }
        return (rows, bad)
    }
}

/// Comma-separated values as RFC 4180 has them: fields in quotes may hold commas and line breaks.
enum CSV {
    /// - Returns: each record with the line it starts on.
    static func records(_ text: String) -> [(line: Int, fields: [String])] {
        var records: [(line: Int, fields: [String])] = []
        var fields: [String] = []
        var field: [UInt8] = []
        var isQuoted = false
        var line = 1
        var firstLine = 1
        let bytes = Array(text.utf8)
        var index = 0
        func endField() {
            fields.append(String(decoding: field, as: UTF8.self))
            field = []
        }
        func endRecord() {
            endField()
            if fields != [""] { records.append((firstLine, fields)) }
            fields = []
        }
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "\n") { line += 1 }
            if isQuoted {
                if byte != UInt8(ascii: "\"") {
                    field.append(byte)
                } else if index < bytes.count, bytes[index] == UInt8(ascii: "\"") {
                    field.append(byte)
                    index += 1
                } else {
                    isQuoted = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isQuoted = true
            case UInt8(ascii: ","): endField()
            case UInt8(ascii: "\r"): continue
            case UInt8(ascii: "\n"):
                endRecord()
                firstLine = line
            default: field.append(byte)
            }
        }
        if !field.isEmpty || !fields.isEmpty { endRecord() }
        return records
    }
}
