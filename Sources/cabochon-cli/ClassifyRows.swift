// ClassifyRows.swift - `cabochon classify --input`: many rows in, a line of verdicts for each out.
//
// Results come in the rows' order and each is written whole as soon as it is known, so that the file
// itself says where the work stopped: after its last whole line. A line cut short by a kill is taken
// back and computed again.

import ArgumentParser
import Cabochon
import Glibc

struct ClassifyRows {
    let guardian: Guard
    let policies: [Policy]
    let report: VerdictReport
    let input: String
    let output: String?

    /// Rows that are read ahead and given to the guard together; it packs them by tokens itself.
    private static let rowsPerGroup = 64

    /// A line of the input: its number, its "id", and what to judge or why it cannot be.
    private struct Row {
        let line: Int
        var id: JSONValue?
        var content: Result<GuardRow, Failure>
    }

    func run() throws {
        let reader = try LineReader(input)
        let (descriptor, isOpenedHere, done) = try openOutput()
        defer { if isOpenedHere { close(descriptor) } }
        if let done, done > 0 { Terminal.note("\(input): going on after line \(done)") }
        let cancellation = Cancellation()
        var progress = Progress()
        var counts = (rows: 0, bad: 0)
        defer { progress.finish() }
        try Interrupt.watch(cancellation) { () throws(Failure) in
            var line = 0
            var group: [Row] = []
            while !Interrupt.wasRequested, let bytes = try reader.next() {
                line += 1
                guard line > done ?? 0, !LineReader.isBlank(bytes) else { continue }
                group.append(Self.row(bytes, line: line, path: input))
                if group.count == Self.rowsPerGroup {
                    try judge(group, to: descriptor, cancellation, &counts, &progress, reader)
                    group = []
                }
            }
            if !Interrupt.wasRequested { try judge(group, to: descriptor, cancellation, &counts, &progress, reader) }
        }
        progress.finish()
        if Interrupt.wasRequested {
            Terminal.note(
                "stopped by Ctrl-C after \(counts.rows) rows\(done != nil ? "; the same command goes on from here" : "")"
            )
            throw ExitCode.failure
        }
        Terminal.note("\(counts.rows) rows\(counts.bad > 0 ? ", \(counts.bad) of them bad" : "")")
        if counts.bad > 0 { throw ExitCode.failure }
    }

    private static func row(_ bytes: [UInt8], line: Int, path: String) -> Row {
        var row = Row(line: line, content: .failure(Failure("no \"prompt\"")))
        let mark = Array("\u{FEFF}".utf8)
        let bytes = line == 1 && bytes.starts(with: mark) ? bytes.dropFirst(mark.count) : bytes[...]
        guard let text = String(validating: bytes, as: UTF8.self) else {
            row.content = .failure(Failure("not UTF-8 text"))
            return row
        }
        let value: JSONValue
        do throws(CabochonError) {
            value = try JSON.parse(text, name: "row")
        } catch {
            row.content = .failure(Failure(error.message))
            return row
        }
        guard case .object(let object) = value else {
            row.content = .failure(Failure("not a JSON object"))
            return row
        }
        row.id = object["id"]
        guard case .string(let prompt) = object["prompt"] else { return row }
        switch object["response"] {
        case nil, .null?: row.content = .success(GuardRow(prompt: prompt))
        case .string(let response)?: row.content = .success(GuardRow(prompt: prompt, response: response))
        default: row.content = .failure(Failure("\"response\" is no text"))
        }
        return row
    }

    private func judge(
        _ group: [Row], to descriptor: Int32, _ cancellation: Cancellation, _ counts: inout (rows: Int, bad: Int),
        _ progress: inout Progress, _ reader: LineReader
    ) throws(Failure) {
        var counted = counts
        var shown = progress
        var rest = group[...]
        var failure: Failure?
        /// Writes the row at the front of `rest`, and the bad ones behind it.
        func write(_ result: Result<[Verdict], Failure>) -> Bool {
            let row = rest.removeFirst()
            counted.rows += 1
            if case .failure(let reason) = result {
                counted.bad += 1
                shown.finish()
                Terminal.note("\(input):\(row.line): \(reason.message)")
            }
            guard Terminal.write(text(row, result) + "\n", to: descriptor) else {
                failure = output.map { Failure(path: $0) } ?? .standardOutput
                return false
            }
            shown.show(
                Double(reader.bytesRead) / Double(max(reader.byteCount, 1)), "\(counted.rows) rows, \(counted.bad) bad")
            return true
        }
        func writeBadRows() -> Bool {
            while let row = rest.first, case .failure(let reason) = row.content {
                guard write(.failure(reason)) else { return false }
            }
            return true
        }
        defer { (counts, progress) = (counted, shown) }
        if writeBadRows() {
            let good = rest.compactMap { try? $0.content.get() }
            do throws(CabochonError) {
                _ = try guardian.classify(good, policies: policies, cancellation: cancellation) { _, result in
                    write(result.mapError { Failure($0.message) }) && writeBadRows()
                }
            } catch {
                guard error.code == .cancelled else { throw Failure(error.message) }
            }
        }
        if let failure { throw failure }
    }

    private func text(_ row: Row, _ result: Result<[Verdict], Failure>) -> String {
        var object = JSONObject()
        _ = object.append(key: "line", value: .integer(row.line))
        if let id = row.id { _ = object.append(key: "id", value: id) }
        switch result {
        case .success(let verdicts):
            _ = object.append(key: "template", value: .string(guardian.options.template.name))
            _ = object.append(key: "verdicts", value: .array(verdicts.map(report.json)))
        case .failure(let reason):
            _ = object.append(key: "error", value: .string(reason.message))
        }
        return JSONValue.object(object).text
    }

    // MARK: Resuming

    /// The output, positioned at its end, and the last input line that is in it; nil for what is no file. A device or a
    /// pipe that were read back could be without end, and have nothing to go on from.
    private func openOutput() throws(Failure) -> (descriptor: Int32, isOpenedHere: Bool, done: Int?) {
        guard let output else { return (STDOUT_FILENO, false, nil) }
        if let stream = try TextFile.stream(at: output) { return (stream.descriptor, stream.isOpenedHere, nil) }
        let descriptor = open(output, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure(path: output) }
        do throws(Failure) {
            let (done, end) = try finished(output)
            guard ftruncate(descriptor, end) == 0, lseek(descriptor, end, SEEK_SET) == end else {
                throw Failure(path: output)
            }
            return (descriptor, true, done)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// How every line of a file of verdicts begins.
    private static let lineStart = Array("{\"line\": ".utf8)

    private static func foreign(_ path: String) -> Failure {
        Failure("\(path): exists already, and is no file of verdicts")
    }

    /// The last line number in a file of verdicts, and where its last whole line ends.
    private func finished(_ path: String) throws(Failure) -> (line: Int, end: Int) {
        let reader = try LineReader(path)
        var done = 0
        var end = 0
        while let bytes = try reader.next() {
            let value = try? JSON.parse(String(decoding: bytes, as: UTF8.self), name: path)
            // A line without its line feed was cut short, even if it reads well. It is taken back only where it begins
            // as this command writes them: the whole of somebody's file may be one line without a line feed.
            guard reader.bytesRead <= reader.byteCount, reader.bytesRead == end + bytes.count + 1 else {
                guard bytes.starts(with: Self.lineStart.prefix(bytes.count)) else { throw Self.foreign(path) }
                break
            }
            guard case .object(let object)? = value, case .integer(let line)? = object["line"] else {
                throw Self.foreign(path)
            }
            try checkSameTask(object, path)
            done = Int(line)
            end = reader.bytesRead
        }
        return (done, end)
    }

    private func checkSameTask(_ object: JSONObject, _ path: String) throws(Failure) {
        guard case .string(let template)? = object["template"], case .array(let verdicts)? = object["verdicts"] else {
            return
        }
        let names = verdicts.map { verdict in
            if case .object(let object) = verdict, case .string(let name)? = object["policy"] { name } else { "" }
        }
        guard template == guardian.options.template.name, names == policies.map(\.name) else {
            throw Failure("\(path): exists already, with verdicts of another template or of other policies")
        }
    }
}
