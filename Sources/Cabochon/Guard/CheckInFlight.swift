// CheckInFlight.swift - one check of an answer that goes on meanwhile.
//
// Making a token waits for memory, and one thread gets most of what two do; a check computes. So the
// two run side by side, and the pool gives each a share of its threads for as long as both are at it.
// The pools of two engines know nothing of each other: each is told of the other's caller.

import CabochonShims
import Synchronization

/// Belongs to the thread that started it, which joins the check's thread before it lets go of it.
/// Until then nobody else touches the answer's check.
final class CheckInFlight: @unchecked Sendable {
    /// Length of the answer that is judged, and its text.
    let tokenCount: Int
    let text: String
    private let check: AnswerCheck
    private let cancellation: Cancellation
    private let ended = Atomic<Bool>(false)
    /// Written by the check's thread before it ends.
    private var outcome: Result<[Verdict], CabochonError>?
    private var nanoseconds: UInt64 = 0
    /// Nil once it has been joined, or where the check ran on the caller's thread.
    private var thread: UInt64?
    /// Where the answer is made, if the check is on a thread of its own and computes elsewhere.
    private var otherPool: ThreadPool?

    /// Starts the check.
    ///
    /// - Parameters:
    ///   - cancellation: reaches it while it runs.
    ///   - pool: where the answer is made meanwhile, and the check has a thread of its own. Nil where it
    ///     has not: it has then ended when this returns, as where the system refuses a thread.
    init(
        _ check: AnswerCheck, of text: String, tokenCount: Int, cancellation: Cancellation, beside pool: ThreadPool?
    ) {
        self.check = check
        self.text = text
        self.tokenCount = tokenCount
        self.cancellation = cancellation
        if let pool, start(beside: pool) { return }
        judge()
    }

    private var ownPool: ThreadPool { check.moderator.model.engine.pool }

    /// Whether `verdicts` gives them without waiting.
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

    /// Waits for the check to end.
    ///
    /// - Returns: what `AnswerCheck.verdicts` does, and how long it ran.
    func verdicts() throws(CabochonError) -> (verdicts: [Verdict], nanoseconds: UInt64) {
        join()
        guard let outcome else { throw CabochonError(.internal, "a check without an outcome") }
        return (try outcome.get(), nanoseconds)
    }

    /// Stops the check where nobody wants its verdicts any more, and takes back the request to do so.
    func abandon() {
        guard thread != nil else { return }
        cancellation.cancel()
        join()
        cancellation.reset()
    }

    private func start(beside pool: ThreadPool) -> Bool {
        if pool !== ownPool { otherPool = pool }
        otherPool?.enter()
        let retained = Unmanaged.passRetained(self)
        var thread: UInt64 = 0
        let status = cabochon_shim_start_thread(
            { Unmanaged<CheckInFlight>.fromOpaque($0.unsafelyUnwrapped).takeRetainedValue().judge() },
            retained.toOpaque(), cabochon_shim_processors(), &thread)
        guard status == 0 else {
            retained.release()
            otherPool?.leave()
            otherPool = nil
            return false
        }
        self.thread = thread
        if otherPool != nil { ownPool.enter() }
        return true
    }

    private func judge() {
        let start = monotonicNanoseconds()
        do throws(CabochonError) {
            outcome = .success(try check.verdicts(on: text, cancellation: cancellation))
        } catch { outcome = .failure(error) }
        nanoseconds = monotonicNanoseconds() - start
        otherPool?.leave()
        ended.store(true, ordering: .releasing)
    }

    private func join() {
        guard let thread else { return }
        // Who waits computes nothing.
        if otherPool != nil { ownPool.leave() }
        cabochon_shim_join_thread(thread)
        self.thread = nil
    }
}
