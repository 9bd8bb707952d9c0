// BatchRunnerTests.swift - several sessions in one pass: the bits of one append each, or nothing.

import Cabochon
import Testing

@Suite struct BatchRunnerTests {
    private let model: Model
    private let texts: [[Int32]]

    init() throws {
        model = try ParityTests.model()
        let prompts = try Expected.load().prompts.map(\.ids)
        // Longer than a chunk, so that one text lies in two of them.
        texts = [prompts[0], prompts[1] + Array(repeating: 300, count: 480), prompts[2], []]
    }

    @Test("Sessions appended to together have the tokens and the bits of one append each")
    func sameBits() throws {
        let sessions = try texts.map { _ in try model.makeSession() }
        // One has a token already that has not gone through the layers again since it was cut.
        try sessions[2].append([2, 400, 401])
        try sessions[2].truncate(to: 2)
        try BatchRunner(model: model).append(Array(zip(sessions, texts)).map { (session: $0, tokens: $1) })
        for (index, text) in texts.enumerated() where !text.isEmpty {
            let alone = try model.makeSession()
            if index == 2 { try alone.append([2, 400]) }
            try alone.append(text)
            #expect(sessions[index].tokens == alone.tokens)
            #expect(try logits(sessions[index]) == logits(alone))
        }
        #expect(sessions[3].length == 0)
    }

    @Test("A batch that fails leaves all of its sessions as they were")
    func allOrNothing() throws {
        let runner = BatchRunner(model: model)
        let sessions = try [16, 64].map { try model.makeSession(contextLength: $0) }
        for session in sessions { try session.append([2, 400]) }
        let before = try sessions.map(logits)
        func refused(
            _ code: ErrorCode, _ additions: [(session: Session, tokens: [Int32])], _ cancellation: Cancellation
        ) throws {
            try expectError(code) { try runner.append(additions, cancellation: cancellation) }
            #expect(sessions.allSatisfy { $0.tokens == [2, 400] })
            #expect(try sessions.map(logits) == before)
        }
        let tooMany = [Int32](repeating: 300, count: 15)
        try refused(.contextExceeded, [(sessions[1], [5]), (sessions[0], tooMany)], Cancellation())
        try refused(.invalidArgument, [(sessions[0], [5]), (sessions[1], [-1])], Cancellation())
        try refused(.invalidArgument, [(sessions[0], [5]), (sessions[0], [6])], Cancellation())
        let cancelled = Cancellation()
        cancelled.cancel()
        try refused(.cancelled, [(sessions[0], [5]), (sessions[1], [6])], cancelled)
        let other = try ParityTests.model().makeSession()
        try refused(.invalidArgument, [(sessions[0], [5]), (other, [6])], Cancellation())
    }
}
