// ThreadPool.swift - the threads that every backend borrows.
//
// One pool per engine, started at the first compute and joined with the engine. A job is a count
// of indices, cut into one stretch for each thread (IndexStretch.swift); who is done early takes what
// is left of another's. Between jobs workers spin for a short while (the next op of a forward pass
// comes within microseconds) and then sleep on a futex, so an idle session costs no processor.
// Sessions on several threads share the pool: one of them has the workers, the others run their
// job alone on the calling thread, which cannot deadlock and is no slower than waiting. Each takes a
// worker's place for as long as it is inside a forward pass, so that no more threads compute than
// there are processors: two sessions on two processors have one each.

import CCabochonBackend
import CabochonShims
import Synchronization

final class ThreadPool: Sendable {
    typealias Body = @convention(c) (UnsafeMutableRawPointer?, Int, Int) -> Void

    /// Threads that may run bodies at once, the caller included.
    let threadCount: Int
    private let shared: Shared
    private let threads = Mutex<[UInt64]>([])
    private let started = Atomic<Bool>(false)

    init(threadCount: Int) {
        self.threadCount = max(1, threadCount)
        self.shared = Shared(threadCount: self.threadCount)
    }

    deinit {
        shared.quits.store(true, ordering: .releasing)
        shared.publish()
        for thread in threads.withLock({ $0 }) { cabochon_shim_join_thread(thread) }
    }

    /// The calling thread goes into a forward pass, until `leave`: another caller's jobs then have a worker less.
    func enter() { shared.callers.add(1, ordering: .relaxed) }

    func leave() { shared.callers.subtract(1, ordering: .relaxed) }

    /// Calls `body(context, index, worker)` once for each index below `count`; returns when all are done.
    func run(count: Int, body: Body, context: UnsafeMutableRawPointer?) {
        if threadCount > 1, count > 1 { startThreads() }
        guard count > 1, count <= IndexStretch.largestEnd, shared.helperLimit > 0,
            shared.busy.exchange(true, ordering: .acquiring) == false
        else {
            for index in 0..<max(0, count) { body(context, index, 0) }
            return
        }
        shared.run(count: count, body: body, context: context)
        shared.busy.store(false, ordering: .releasing)
    }

    private func startThreads() {
        if started.load(ordering: .acquiring) { return }
        threads.withLock { threads in
            guard threads.isEmpty else { return }
            // More threads than processors would take them from each other: one that has been put aside
            // with work in hand is waited for by all. So no more are started, and the others' work is
            // done by those there are, cut as it would have been.
            for index in 1..<max(1, min(threadCount, Int(cabochon_shim_processor_count()))) {
                let start = Unmanaged.passRetained(Worker(shared: shared, index: index))
                var thread: UInt64 = 0
                let status = cabochon_shim_start_thread(
                    { Unmanaged<Worker>.fromOpaque($0.unsafelyUnwrapped).takeRetainedValue().work() },
                    start.toOpaque(), &thread)
                // A thread that the system refuses is done without: the others take its share.
                if status == 0 { threads.append(thread) } else { start.release() }
            }
            shared.workerCount.store(UInt32(threads.count), ordering: .releasing)
        }
        started.store(true, ordering: .releasing)
    }
}

/// Looks before a waiting thread gives its processor up: about 50 microseconds, longer than the gaps
/// inside a forward pass and too short to be seen in idle time.
private let spinLimit = 2000

/// What the caller and the workers read and write. The job's fields are written before
/// `generation` is raised and read only by workers that have seen it raised.
private final class Shared: @unchecked Sendable {
    let busy = Atomic<Bool>(false)
    let quits = Atomic<Bool>(false)
    let workerCount = Atomic<UInt32>(0)
    /// Threads inside a forward pass.
    let callers = Atomic<UInt32>(0)
    private let working = Atomic<UInt32>(0)
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
        stretches = .allocate(capacity: threadCount)
        for thread in 0..<threadCount { (stretches + thread).initialize(to: IndexStretch()) }
    }

    deinit {
        generation.deallocate()
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
        working.store(workerCount.load(ordering: .acquiring), ordering: .relaxed)
        publish()
        take(worker: 0)
        // Every worker checks in for every job, so none can wake late into the next one's fields. One
        // that has lost its processor needs this thread's: spinning on would only keep it waiting.
        var spins = 0
        while working.load(ordering: .acquiring) != 0 {
            spins += 1
            if spins < spinLimit { cabochon_shim_pause() } else { cabochon_shim_yield() }
        }
    }

    func publish() {
        cabochon_shim_store_word(generation, cabochon_shim_load_word(generation) &+ 1)
        if sleepers.load(ordering: .sequentiallyConsistent) != 0 { cabochon_shim_wake_all(generation) }
    }

    func work(index: Int) {
        var seen: UInt32 = 0
        while true {
            seen = waitForNext(after: seen)
            if quits.load(ordering: .acquiring) { return }
            take(worker: index)
            working.subtract(1, ordering: .acquiringAndReleasing)
        }
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
