// Cancellation.swift - a flag that any thread, or a signal handler, may raise.

import Synchronization

/// Raised by one thread, polled by a computation once per layer. Raising is a single atomic store,
/// and so safe in a signal handler.
public final class Cancellation: Sendable {
    private let flag = Atomic<Bool>(false)
    /// Whether anything has polled since the call began.
    fileprivate let isPolled = Atomic<Bool>(false)
    private let all: CancellationOfAll?
    /// Requests to `all` that are none of this call's business.
    private let earlierRequests: Int

    public init() {
        all = nil
        earlierRequests = 0
    }

    /// One call's part in a cancellation that reaches several.
    fileprivate init(of all: CancellationOfAll, earlierRequests: Int) {
        self.all = all
        self.earlierRequests = earlierRequests
    }

    /// Asks the computation under way, or else the next one, to stop.
    public func cancel() { flag.store(true, ordering: .relaxed) }

    /// Takes a request back.
    public func reset() { flag.store(false, ordering: .relaxed) }

    /// Runs one call. What computes polls: a call that has done so answers all requests until its end (an answer that
    /// is whole by then is kept), and one that failed before it came to that leaves them to the next.
    public func during<Result>(_ call: () throws(CabochonError) -> Result) throws(CabochonError) -> Result {
        isPolled.store(false, ordering: .relaxed)
        defer { if isPolled.load(ordering: .relaxed) { reset() } }
        return try call()
    }

    public var isCancelled: Bool {
        flag.load(ordering: .relaxed) || all.map { $0.requestCount != earlierRequests } ?? false
    }

    func check() throws(CabochonError) {
        isPolled.store(true, ordering: .relaxed)
        guard isCancelled else { return }
        reset()
        throw Self.error
    }

    fileprivate static var error: CabochonError { CabochonError(.cancelled, "cancelled by the caller") }
}

/// Stops all calls on something that several threads use at a time. Raising it is a single atomic
/// addition, and so safe in a signal handler.
public final class CancellationOfAll: Sendable {
    private let requests = Atomic<Int>(0)
    private let answered = Atomic<Int>(0)

    public init() {}

    /// Asks all calls under way to stop, or else the next one.
    public func cancel() { requests.wrappingAdd(1, ordering: .relaxed) }

    fileprivate var requestCount: Int { requests.load(ordering: .relaxed) }

    /// Runs one call, which polls what it is given if it computes. A request that comes after its last poll fails
    /// it as well: who asks from outside cannot see how far the call is, and a loop of calls must end by one request.
    public func during<Result>(
        _ call: (Cancellation) throws(CabochonError) -> Result
    ) throws(CabochonError) -> Result {
        let earlierRequests = answered.load(ordering: .relaxed)
        let cancellation = Cancellation(of: self, earlierRequests: earlierRequests)
        let outcome: Swift.Result<Result, CabochonError>
        do throws(CabochonError) { outcome = .success(try call(cancellation)) } catch { outcome = .failure(error) }
        if cancellation.isPolled.load(ordering: .relaxed) {
            let requests = requestCount
            // Another call may have answered later ones meanwhile.
            answered.max(requests, ordering: .relaxed)
            if case .success = outcome, requests != earlierRequests { throw Cancellation.error }
        }
        return try outcome.get()
    }
}
