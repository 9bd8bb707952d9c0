// ThreadPool.swift - the threads that every backend borrows.
//
// One pool per engine, started at the first compute and joined with the engine. A job is a count
// of indices, cut into one stretch for each thread (IndexStretch.swift); who is done early takes what
// is left of another's. Between jobs workers spin for a short while (the next op of a forward pass
// comes within microseconds) and then sleep on a futex, so an idle session costs no processor.
// Sessions on several threads share the pool: one of them has the workers, the others run their
// job alone on the calling thread, which cannot deadlock and is no slower than waiting. Each takes a
// worker's place for as long as it is inside a forward pass or a dictionary, so that no more threads compute than
// there are processors: two sessions on two processors have one each.

import CCabochonBackend
import CabochonShims
import Glibc
import Synchronization

final class ThreadPool: Sendable {
    typealias Body = @convention(c) (UnsafeMutableRawPointer?, Int, Int) -> Void

    /// Threads that may run bodies at once, the caller included: into so many stretches work is cut.
    let threadCount: Int
    /// Where workers run. That of the thread that makes the pool, not of the one that happens to compute first.
    private let processors: cabochon_processor_set
    private let shared: Shared
    private let isStarted = Atomic<Bool>(false)

    init(threadCount: Int) {
        self.threadCount = max(1, threadCount)
        processors = cabochon_shim_processors()
        shared = Shared(threadCount: self.threadCount)
    }

    /// No lock here, nor anywhere in the pool: a child of fork() would inherit it as it was.
    deinit { shared.quit() }

    /// Threads that compute at most, the caller's included. More than there are processors would take them from each
    /// other: one that has been put aside with work in hand is waited for by all. So no more are started, and the
    /// others' work is done by those there are, cut as it would have been.
    var computingThreadCount: Int { max(1, min(threadCount, Int(processors.count))) }

    /// The calling thread goes into a forward pass, or the like, until `leave`: another caller's jobs then have a
    /// worker less. Not twice: its own would have one less, too.
    func enter() { shared.callers.add(1, ordering: .relaxed) }

    func leave() { shared.callers.subtract(1, ordering: .relaxed) }

    /// Calls `body(context, index, worker)` once for each index below `count`; returns when all are done.
    func run(count: Int, body: Body, context: UnsafeMutableRawPointer?) {
        if count > 1, !isStarted.load(ordering: .relaxed), !isStarted.exchange(true, ordering: .relaxed) {
            shared.start(workers: computingThreadCount - 1, on: processors)
        }
        guard count > 1, count <= IndexStretch.largestEnd, shared.helperLimit > 0,
            shared.busy.exchange(true, ordering: .acquiring) == false
        else {
            for index in 0..<max(0, count) { body(context, index, 0) }
            return
        }
        shared.run(count: count, body: body, context: context)
        shared.busy.store(false, ordering: .releasing)
    }
}

/// Looks before a waiting thread gives its processor up: about 50 microseconds, longer than the gaps
/// inside a forward pass and too short to be seen in idle time.
private let spinLimit = 2000

/// What the caller and the workers read and write. The job's fields are written before
/// `generation` is raised and read only by workers that have seen it raised.
private final class Shared: @unchecked Sendable {
    let busy = Atomic<Bool>(false)
    /// Threads between `enter` and `leave`.
    let callers = Atomic<UInt32>(0)
    private let quits = Atomic<Bool>(false)
    /// 0 until all have been started: a caller that comes meanwhile computes alone.
    private let workerCount = Atomic<UInt32>(0)
    private let workers: UnsafeMutablePointer<UInt64>
    /// Where they were started: a child of fork() does not have them, and may have threads of its own by the same names.
    private var process: pid_t = 0
    /// The job's generation in the upper half; below it whether it takes no more workers, and how many are in it.
    private let gate = Atomic<UInt64>(0)
    private static let closed: UInt64 = 1 << 31
    private let sleepers = Atomic<UInt32>(0)
    /// Raised once for each job. In raw memory because the futex needs its address.
    private let generation: UnsafeMutablePointer<UInt32> = .allocate(capacity: 1)
    private var body: ThreadPool.Body?
    private var context: UnsafeMutableRawPointer?
    /// One for each thread that may take part, the caller's first.
    private let stretches: UnsafeMutablePointer<IndexStretch>
    private let threadCount: Int

    /// Workers that one job may have: those that stand for no other caller.
    var helperLimit: Int {
        let others = Int(callers.load(ordering: .relaxed)) - 1
        return max(0, Int(workerCount.load(ordering: .acquiring)) - max(0, others))
    }

    init(threadCount: Int) {
        self.threadCount = threadCount
        generation.initialize(to: 0)
        workers = .allocate(capacity: threadCount)
        stretches = .allocate(capacity: threadCount)
        for thread in 0..<threadCount { (stretches + thread).initialize(to: IndexStretch()) }
    }

    deinit {
        generation.deallocate()
        workers.deallocate()
        stretches.deinitialize(count: threadCount)
        stretches.deallocate()
    }

    func run(count: Int, body: ThreadPool.Body, context: UnsafeMutableRawPointer?) {
        self.body = body
        self.context = context
        let owners = min(threadCount, helperLimit + 1)
        for thread in 0..<threadCount {
            let first = min(thread, owners) * count / owners
            stretches[thread].set(first..<min(thread + 1, owners) * count / owners)
        }
        gate.store(UInt64(cabochon_shim_load_word(generation) &+ 1) << 32, ordering: .releasing)
        publish()
        take(worker: 0)
        // Whoever has not come by now would find nothing to do, and finds the job closed: with the processors busy
        // elsewhere, waiting for each worker to have come by took ten times as long as the work. A worker that is in it
        // and has lost its processor needs this thread's: spinning on would only keep it waiting.
        gate.bitwiseOr(Self.closed, ordering: .acquiringAndReleasing)
        var spins = 0
        while gate.load(ordering: .acquiring) & (Self.closed - 1) != 0 {
            spins += 1
            if spins < spinLimit { cabochon_shim_pause() } else { cabochon_shim_yield() }
        }
    }

    /// A thread that the system refuses is done without: the others take its share.
    func start(workers count: Int, on processors: cabochon_processor_set) {
        process = getpid()
        var started = 0
        for _ in 0..<count {
            let worker = Unmanaged.passRetained(Worker(shared: self, index: started + 1))
            let status = cabochon_shim_start_thread(
                { Unmanaged<Worker>.fromOpaque($0.unsafelyUnwrapped).takeRetainedValue().work() },
                worker.toOpaque(), processors, workers + started)
            if status == 0 { started += 1 } else { worker.release() }
        }
        workerCount.store(UInt32(started), ordering: .releasing)
    }

    func quit() {
        quits.store(true, ordering: .releasing)
        publish()
        guard getpid() == process else { return }
        for worker in 0..<Int(workerCount.load(ordering: .acquiring)) { cabochon_shim_join_thread(workers[worker]) }
    }

    private func publish() {
        cabochon_shim_store_word(generation, cabochon_shim_load_word(generation) &+ 1)
        if sleepers.load(ordering: .sequentiallyConsistent) != 0 { cabochon_shim_wake_all(generation) }
    }

    func work(index: Int) {
        var seen: UInt32 = 0
        while true {
            seen = waitForNext(after: seen)
            if quits.load(ordering: .acquiring) { return }
            guard enter(job: seen) else { continue }
            take(worker: index)
            gate.subtract(1, ordering: .acquiringAndReleasing)
        }
    }

    /// False where the job is closed, or over and another one's fields are there.
    private func enter(job: UInt32) -> Bool {
        var state = gate.load(ordering: .acquiring)
        while UInt32(truncatingIfNeeded: state >> 32) == job, state & Self.closed == 0 {
            let (exchanged, found) = gate.weakCompareExchange(
                expected: state, desired: state + 1, ordering: .acquiringAndReleasing)
            if exchanged { return true }
            state = found
        }
        return false
    }

    /// A worker stops where another caller needs its processor; the job's caller, worker 0, never does.
    private func take(worker: Int) {
        guard let body else { return }
        while worker == 0 || worker <= helperLimit {
            guard let index = stretches[worker].takeFirst() ?? takeLast() else { return }
            body(context, index, worker)
        }
    }

    /// The last index of the longest stretch.
    private func takeLast() -> Int? {
        while true {
            var (longest, length) = (0, 0)
            for thread in 0..<threadCount where stretches[thread].count > length {
                (longest, length) = (thread, stretches[thread].count)
            }
            if length == 0 { return nil }
            if let index = stretches[longest].takeLast() { return index }
        }
    }

    private func waitForNext(after seen: UInt32) -> UInt32 {
        for _ in 0..<spinLimit {
            let now = cabochon_shim_load_word(generation)
            if now != seen { return now }
            cabochon_shim_pause()
        }
        sleepers.add(1, ordering: .sequentiallyConsistent)
        defer { sleepers.subtract(1, ordering: .sequentiallyConsistent) }
        while true {
            let now = cabochon_shim_load_word(generation)
            if now != seen { return now }
            cabochon_shim_wait(generation, seen)
        }
    }
}

private final class Worker: Sendable {
    private let shared: Shared
    private let index: Int

    init(shared: Shared, index: Int) {
        self.shared = shared
        self.index = index
    }

    func work() { shared.work(index: index) }
}
