// EncodeRows.swift - the features of a data set, in shards that a stop cannot tear.
//
// A shard is whole lines of the input. progress.json in the output folder says where the next one
// begins; it is renamed into place after each shard, so that a kill costs the lines since then, and
// Ctrl-C none: they are written as a short shard.

import ArgumentParser
import Cabochon
import Glibc

struct EncodeRows {
    let model: Model
    let sae: SparseAutoencoder
    /// Those that are encoded, as the user gave them; nil: all.
    let selection: String?
    let input: String
    let output: String
    let context: Int
    let shardTokens: Int

    private var progressPath: String { "\(output)/progress.json" }

    func run(json: Bool) throws {
        let reader = try LineReader(input)
        guard mkdir(output, 0o755) == 0 || errno == EEXIST else { throw Failure(path: output) }
        var state = try resume()
        for line in 0..<state.lines {
            guard try reader.next() != nil else {
                throw Failure("\(input): \(line) lines, but \(progressPath) says that \(state.lines) are done")
            }
        }
        var progress = Progress()
        let cancellation = Cancellation()
        var shard = Shard()
        var line = state.lines
        defer { progress.finish() }
        try Interrupt.watch(cancellation) { () throws(Failure) in
            while !Interrupt.wasRequested, let bytes = try reader.next() {
                do throws(CabochonError) {
                    try append(bytes, line: line, to: &shard, cancellation: cancellation)
                } catch {
                    guard error.code == .cancelled else { throw Failure(error.message) }
                    shard.forget(line: line)
                    break
                }
                line += 1
                if shard.tokens.count >= shardTokens { try write(&shard, endLine: line, to: &state) }
                progress.show(
                    reader.byteCount > 0 ? Double(reader.bytesRead) / Double(reader.byteCount) : 1,
                    "\(line) texts, \(state.tokens + shard.tokens.count) tokens")
            }
            if !shard.tokens.isEmpty || line > state.lines { try write(&shard, endLine: line, to: &state) }
        }
        progress.finish()
        if json {
            try Terminal.print(state.json(self).text + "\n")
        } else {
            Terminal.note(
                "\(state.lines) texts, \(state.tokens) tokens, \(state.shards) shards in \(output); "
                    + "\(fixed(state.counted > 0 ? Double(state.active) / Double(state.counted) : 0, 1)) active features per token"
            )
        }
        if Interrupt.wasRequested {
            Terminal.note("stopped by Ctrl-C; the same command goes on at line \(state.lines + 1)")
            throw ExitCode.failure
        }
    }

    private func append(
        _ bytes: [UInt8], line: Int, to shard: inout Shard, cancellation: Cancellation
    ) throws(CabochonError) {
        guard !LineReader.isBlank(bytes) else { return }
        guard let json = String(validating: bytes, as: UTF8.self) else {
            throw CabochonError(.invalidFile, "\(input), line \(line + 1): not UTF-8 text")
        }
        guard let text = try JSON.parse(json, name: "\(input), line \(line + 1)")["text"]?.string else {
            throw CabochonError(.invalidFile, "\(input), line \(line + 1): no text in {\"text\": ...}")
        }
        let tokens = try model.tokenizer.encode(text, addBOS: false, parseSpecial: false)
        let size = min(context, model.contextLength) - 1
        for first in stride(from: 0, to: tokens.count, by: max(size, 1)) {
            let piece = [model.tokenizer.vocabulary.special.bos] + tokens[first..<min(tokens.count, first + size)]
            var found: Result<[Features], CabochonError> = .success([])
            piece.withUnsafeBufferPointer { piece in
                do throws(CabochonError) {
                    found = .success(try model.features(of: piece, [sae], cancellation: cancellation))
                } catch { found = .failure(error) }
            }
            shard.parts += try found.get()
            shard.tokens += piece
            shard.lines += [Int32](repeating: Int32(truncatingIfNeeded: line), count: piece.count)
            shard.positions += (0..<piece.count).map { Int32(truncatingIfNeeded: max(0, first + $0 - 1)) }
        }
    }

    private func write(_ shard: inout Shard, endLine: Int, to state: inout State) throws(Failure) {
        if !shard.tokens.isEmpty {
            let number = String(state.shards)
            let name = "shard-\(String(repeating: "0", count: max(0, 5 - number.count)))\(number).npz"
            let features = try orFail { () throws(CabochonError) in
                let features = try Features.joining(shard.parts)
                try shard.write(features, to: "\(output)/\(name)")
                return features
            }
            state.shards += 1
            state.tokens += shard.tokens.count
            for row in 0..<features.rowCount where features.excluded[row] == 0 {
                state.counted += 1
                state.active += features.offsets[row + 1] - features.offsets[row]
            }
        }
        state.lines = endLine
        try TextFile.write(state.json(self).text + "\n", to: progressPath)
        shard = Shard()
    }

    private func resume() throws(Failure) -> State {
        guard OpenFile.isNamed(progressPath) else { return State() }
        let text = try TextFile.read(progressPath)
        let json = try orFail { () throws(CabochonError) in try JSON.parse(text, name: progressPath) }
        let wanted = [
            ("model", model.path), ("sae", sae.path), ("site", sae.site.name), ("selection", selection),
            ("input", input),
        ]
        for (key, mine) in wanted {
            guard json[key]?.string == mine else {
                throw Failure(
                    "\(progressPath): the folder holds features of another \(key), \(json[key]?.string ?? "none")")
            }
        }
        /// Never taken for 0, which would write over the shards that are there; and far from where sums overflow.
        func count(_ key: String) throws(Failure) -> Int {
            guard let value = json[key]?.int, (0...1 << 48).contains(value) else {
                throw Failure("\(progressPath): \(key) is no count")
            }
            return value
        }
        return State(
            lines: try count("lines"), tokens: try count("tokens"), shards: try count("shards"),
            counted: try count("counted_tokens"), active: try count("active"))
    }

    private struct State {
        var lines = 0
        var tokens = 0
        var shards = 0
        /// Tokens that dictionaries are trained on, and the features that are active for them.
        var counted = 0
        var active = 0

        func json(_ run: EncodeRows) -> JSONValue {
            .object([
                "model": .string(run.model.path), "sae": .string(run.sae.path), "site": .string(run.sae.site.name),
                "selection": run.selection.map { .string($0) } ?? .null, "input": .string(run.input),
                "width": .integer(run.sae.width), "lines": .integer(lines),
                "tokens": .integer(tokens), "shards": .integer(shards), "counted_tokens": .integer(counted),
                "active": .integer(active),
            ])
        }
    }

    private struct Shard {
        var parts: [Features] = []
        var tokens: [Int32] = []
        var lines: [Int32] = []
        var positions: [Int32] = []

        /// Takes back what there is of a line that was not finished.
        mutating func forget(line: Int) {
            let kept = lines.firstIndex(of: Int32(truncatingIfNeeded: line)) ?? lines.count
            tokens.removeSubrange(kept...)
            lines.removeSubrange(kept...)
            positions.removeSubrange(kept...)
            var rows = 0
            parts = Array(
                parts.prefix { part in
                    rows += part.rowCount
                    return rows <= kept
                })
        }

        func write(_ features: Features, to path: String) throws(CabochonError) {
            var failure: CabochonError?
            tokens.withUnsafeBytes { tokens in
                lines.withUnsafeBytes { lines in
                    positions.withUnsafeBytes { positions in
                        let extra = [("tokens", tokens), ("line", lines), ("position", positions)].map { name, bytes in
                            NPYArray(name: name, descriptor: "<i4", shape: [features.rowCount], bytes: bytes)
                        }
                        do throws(CabochonError) { try features.write(to: path, including: extra) } catch {
                            failure = error
                        }
                    }
                }
            }
            if let failure { throw failure }
        }
    }
}
