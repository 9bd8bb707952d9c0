// SessionTests.swift - sessions step back, fork, save, refuse and cancel without losing anything.

import Cabochon
import Foundation
import Testing

@Suite struct SessionTests {
    private let model: Model
    private let ids: [Int32]

    init() throws {
        model = try ParityTests.model()
        ids = try Expected.load().prompts[1].ids
    }

    private func session(_ tokens: some Sequence<Int32>) throws -> Session {
        let session = try model.makeSession()
        try session.append(Array(tokens))
        return session
    }

    @Test("A truncated session has the logits of one that never went further")
    func truncation() throws {
        let long = try session(ids)
        try long.truncate(to: 20)
        #expect(long.length == 20)
        #expect(try logits(long) == logits(session(ids.prefix(20))))
        try long.append(Array(ids[20...]))
        #expect(try logits(long) == logits(session(ids)))
    }

    @Test("Truncating to more than there is, or to less than nothing, is refused")
    func badTruncation() throws {
        let session = try session(ids.prefix(5))
        try expectError(.invalidArgument, "5", "6") { try session.truncate(to: 6) }
        try expectError(.invalidArgument, "-1") { try session.truncate(to: -1) }
        #expect(session.length == 5)
    }

    @Test("A fork goes its own way and leaves the original alone")
    func forking() throws {
        let original = try session(ids.prefix(30))
        let before = try logits(original)
        let fork = try original.fork()
        #expect(try logits(fork) == before)
        try fork.append(Array(ids[30...]))
        #expect(try logits(fork) == logits(session(ids)))
        #expect(try logits(original) == before)
        #expect(original.length == 30)
    }

    @Test("A saved session is restored with the same bits")
    func saving() throws {
        let folder = try TemporaryFolder()
        let path = folder.url.appending(path: "session").path(percentEncoded: false)
        let original = try session(ids)
        try original.save(to: path)
        let restored = try Session.restore(from: path, model: model)
        #expect(restored.tokens == original.tokens)
        #expect(try logits(restored) == logits(original))
        try restored.append([5])
        try original.append([5])
        #expect(try logits(restored) == logits(original))
    }

    @Test("Saving touches no other file, keeps a link leading to the session, and refuses what is no regular file")
    func savingBesideOthers() throws {
        let folder = try TemporaryFolder()
        func path(_ name: String) -> String { folder.url.appending(path: name).path(percentEncoded: false) }
        let session = try session(ids.prefix(9))
        try Data("mine".utf8).write(to: folder.url.appending(path: "session.part"))
        try session.save(to: path("session"))
        try FileManager.default.createSymbolicLink(atPath: path("link"), withDestinationPath: "session")
        try session.append([5])
        try session.save(to: path("link"))
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: path("link")) == "session")
        #expect(try Session.restore(from: path("session"), model: model).length == 10)
        #expect(try Data(contentsOf: folder.url.appending(path: "session.part")) == Data("mine".utf8))

        #expect(mkfifo(path("pipe"), 0o600) == 0)
        try FileManager.default.createSymbolicLink(atPath: path("link to a pipe"), withDestinationPath: "pipe")
        for name in ["pipe", "link to a pipe"] {
            try expectError(.io, path(name), "not a regular file") { try session.save(to: path(name)) }
        }
        try expectError(.io, folder.url.path(percentEncoded: false)) {
            try session.save(to: folder.url.path(percentEncoded: false))
        }
        var information = stat()
        #expect(stat(path("pipe"), &information) == 0 && information.st_mode & S_IFMT == S_IFIFO)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.url.path(percentEncoded: false))
        #expect(names.sorted() == ["link", "link to a pipe", "pipe", "session", "session.part"])
    }

    @Test("A damaged, cut or foreign session file is refused")
    func damagedFiles() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "session")
        let path = url.path(percentEncoded: false)
        try session(ids.prefix(9)).save(to: path)
        let good = try Data(contentsOf: url)
        for position in stride(from: 0, to: good.count, by: max(1, good.count / 97)) {
            var bad = good
            bad[position] ^= 0x10
            try bad.write(to: url)
            try expectError(.invalidFile, path) { _ = try Session.restore(from: path, model: model) }
            try good.prefix(position).write(to: url)
            try expectError(.invalidFile, path) { _ = try Session.restore(from: path, model: model) }
        }
        try good.write(to: url)
        let halfPrecision = try ParityTests.model { $0.kvType = .f16 }
        try expectError(.invalidArgument, "KV type") { _ = try Session.restore(from: path, model: halfPrecision) }
    }

    @Test("A session is refused by a checkpoint that differs in one matrix, and by another quantisation")
    func otherCheckpoints() throws {
        let folder = try TemporaryFolder()
        func path(_ name: String) -> String { folder.url.appending(path: name).path(percentEncoded: false) }
        let fixture = "gemma2-tiny/gemma2-tiny-f32.gguf"
        let original = try ParityTests.model(fixture)
        let session = try original.makeSession()
        try session.append(ids)
        try session.save(to: path("session"))
        _ = try Session.restore(from: path("session"), model: try ParityTests.model(fixture))
        var tuned = try GGUFCopy(fixture)
        let last = original.configuration.layerCount - 1
        tuned.change("blk.\(last).ffn_down.weight") { $0.content[$0.content.count - 2] ^= 1 }
        try Data(tuned.build()).write(to: folder.url.appending(path: "tuned.gguf"))
        var halved = try GGUFCopy(fixture)
        halved.change("blk.0.attn_q.weight") { tensor in
            let numbers = tensor.content.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
            tensor.type = 1
            tensor.content = numbers.flatMap { GGUFBuilder.bytes(Float16($0).bitPattern) }
        }
        try Data(halved.build()).write(to: folder.url.appending(path: "halved.gguf"))
        var options = Model.Options()
        options.kvType = .f32
        for other in ["tuned.gguf", "halved.gguf"] {
            let model = try Model(path: path(other), engine: original.engine, options: options)
            try expectError(.invalidArgument, "another model") {
                _ = try Session.restore(from: path("session"), model: model)
            }
        }
    }

    @Test("A session in the format of an earlier version is refused as such")
    func earlierFormat() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "session")
        let path = url.path(percentEncoded: false)
        try session(ids.prefix(9)).save(to: path)
        var file = try Data(contentsOf: url)
        file.replaceSubrange(0..<8, with: Data("cabochS1".utf8))
        try file.write(to: url)
        try expectError(.invalidFile, path, "another version") { _ = try Session.restore(from: path, model: model) }
    }

    @Test("More tokens than the context holds are refused with both numbers, and nothing changes")
    func fullContext() throws {
        let session = try model.makeSession(contextLength: 16)
        try session.append(Array(ids.prefix(10)))
        try expectError(.contextExceeded, "10 + 7", "16") { try session.append(Array(ids.prefix(7))) }
        #expect(session.length == 10)
        try session.append(Array(ids[10..<16]))
        #expect(try logits(session) == logits(self.session(ids.prefix(16))))
    }

    @Test("Tokens outside the vocabulary are refused by position")
    func badTokens() throws {
        let session = try session(ids.prefix(3))
        try expectError(.invalidArgument, "token 2073 at position 1") { try session.append([5, 2073]) }
        try expectError(.invalidArgument, "token -1 at position 0") { try session.append([-1]) }
        #expect(session.length == 3)
    }

    @Test("An empty session has no logits")
    func emptySession() throws {
        try expectError(.invalidArgument, "without tokens") { _ = try logits(try model.makeSession()) }
    }

    @Test("A call cancelled between two chunks leaves the logits as they were")
    func cancellationBetweenChunks() throws {
        let session = try model.makeSession()
        try session.append(Array(ids.prefix(30)))
        let before = try logits(session)
        let long = Array((0..<25).map { _ in Array(ids.dropFirst()) }.joined())
        // Raised from another thread once the first chunk is surely under way.
        let cancellation = session.cancellation
        let thread = Thread {
            Thread.sleep(forTimeInterval: 0.02); cancellation.cancel()
        }
        thread.start()
        var failure: (any Error)?
        do { try session.append(long) } catch { failure = error }
        #expect(failure == nil || (failure as? CabochonError)?.code == .cancelled)
        cancellation.reset()
        if session.length == 30 { #expect(try logits(session) == before) }
    }

    @Test("A cancelled call throws and leaves the session as it was, ready for the next call")
    func cancellation() throws {
        let session = try session(ids.prefix(30))
        let before = try logits(session)
        session.cancellation.cancel()
        try expectError(.cancelled) { try session.append(Array(ids[30...])) }
        #expect(session.length == 30)
        #expect(try logits(session) == before)
        var options = GenerationOptions()
        options.ignoresEndOfSequence = true
        try expectError(.cancelled) {
            _ = try session.generate(after: [5, 6], options: options) { token in
                session.cancellation.cancel()
                return true
            }
        }
        #expect(session.length == 30)
        #expect(try logits(session) == before)
    }

    @Test("Float16 keys and values stay close to float32 ones")
    func halfPrecisionCache() throws {
        let half = try ParityTests.logits(ParityTests.model { $0.kvType = .f16 }, ids)
        let full = try ParityTests.logits(model, ids)
        let difference = zip(half, full).map { abs($0 - $1) }.max() ?? .infinity
        // Eleven bits of mantissa in keys and values of size about one, logits of size about ten.
        #expect(difference > 0 && difference < 2e-2)
    }
}
