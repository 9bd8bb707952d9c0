// Interrupt.swift - Ctrl-C while an answer is made, or row after row is worked on.
//
// Two ways to stop, because they leave different things behind. Before the first token nothing has
// been said: the session's cancellation ends the call within a layer and the session stands as before.
// After it, the flag ends generation at the next token, and what was said stays in the conversation. The
// handler does atomic loads and stores only. A loop over rows is watched as a whole, and asks the flag after
// each: between two watches Ctrl-C would end the program, and one that came too late to cancel a row would be forgotten.
// A program that was started with SIGINT ignored, as a script's background jobs are, leaves it ignored.

import Cabochon
import Glibc
import Synchronization

private let isRequested = Atomic<Bool>(false)
/// The Cancellation to set, as the bits of an unmanaged reference; 0: none.
private let cancellationBits = Atomic<UInt>(0)

enum Interrupt {
    /// Whether Ctrl-C was pressed since `watch` began.
    static var wasRequested: Bool { isRequested.load(ordering: .relaxed) }

    /// The answer has begun: from here on Ctrl-C keeps what there is, one that came just now too.
    static func answerBegan(_ cancellation: Cancellation) {
        cancellationBits.store(0, ordering: .relaxed)
        if wasRequested { cancellation.reset() }
    }

    /// Runs `body` with Ctrl-C taken over, unless it was ignored: first through `cancellation`, then through the flag.
    static func watch<Result, Failure>(
        _ cancellation: Cancellation, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        isRequested.store(false, ordering: .relaxed)
        cancellation.reset()
        cancellationBits.store(UInt(bitPattern: Unmanaged.passUnretained(cancellation).toOpaque()), ordering: .relaxed)
        var action = sigaction()
        var previous = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            isRequested.store(true, ordering: .relaxed)
            guard let reference = UnsafeRawPointer(bitPattern: cancellationBits.load(ordering: .relaxed)) else {
                return
            }
            Unmanaged<Cancellation>.fromOpaque(reference)._withUnsafeGuaranteedRef { $0.cancel() }
        }
        action.sa_flags = SA_RESTART
        sigaction(SIGINT, nil, &previous)
        let isIgnored = isIgnoring(previous)
        if !isIgnored { sigaction(SIGINT, &action, nil) }
        defer {
            if !isIgnored { sigaction(SIGINT, &previous, nil) }
            cancellationBits.store(0, ordering: .relaxed)
            cancellation.reset()
        }
        return try withExtendedLifetime(cancellation) { () throws(Failure) in try body() }
    }

    /// Handlers are compared as addresses: SIG_IGN is no function.
    private static func isIgnoring(_ action: sigaction) -> Bool {
        unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
