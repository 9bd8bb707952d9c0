import Glibc
import Synchronization
import Testing

@testable import Cabochon

/// Where there is one only, a pool starts no thread.
private let hasTwoProcessors = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1

struct ThreadPoolTests {
    /// How often each index of a job was done.
    private final class Tally: Sendable {
        private let counts: Mutex<[Int]>
        init(_ count: Int) { counts = Mutex(Array(repeating: 0, count: count)) }
        func add(_ index: Int) { counts.withLock { $0[index] += 1 } }
        var all: [Int] { counts.withLock { $0 } }
        var done: Int { counts.withLock { $0.reduce(0, +) } }
    }

    @Test(arguments: [1, 2, 3, 5])
    func everyIndexIsDoneOnceByAThreadOfThePool(threads: Int) {
        let pool = ThreadPool(threadCount: threads)
        for count in [0, 1, 2, 3, 7, 64, 1001] {
            for _ in 0..<50 {
                let tally = Tally(count)
                pool.forEach(count) { index, worker in
                    #expect(worker >= 0 && worker < threads)
                    tally.add(index)
                }
                #expect(tally.all == Array(repeating: 1, count: count))
            }
        }
    }

    /// A job in which the thread that does `heldUp` goes on when all else is done, so that it needs a second one.
    private func expectSharedOut(_ pool: ThreadPool, heldUp: Int) {
        let tally = Tally(32)
        pool.forEach(32) { index, _ in
            if index == heldUp {
                // Until all others are done, of its own stretch too; ten seconds at most.
                for _ in 0..<10_000 where tally.done < 31 { usleep(1000) }
                #expect(tally.done == 31)
            }
            tally.add(index)
        }
        #expect(tally.all == Array(repeating: 1, count: 32))
    }

    @Test(.enabled(if: hasTwoProcessors), arguments: [0, 16, 31])
    func whatAThreadThatIsHeldUpLeavesIsTakenByTheOthers(heldUp: Int) {
        expectSharedOut(ThreadPool(threadCount: 2), heldUp: heldUp)
    }

    @Test(.enabled(if: hasTwoProcessors))
    func theSecondJobOfAPoolIsSharedOutTooAndSoAreThoseAfterEnterAndLeave() {
        let pool = ThreadPool(threadCount: 2)
        for _ in 0..<2 { expectSharedOut(pool, heldUp: 0) }
        for _ in 0..<3 {
            pool.enter()
            expectSharedOut(pool, heldUp: 0)
            pool.leave()
        }
        expectSharedOut(pool, heldUp: 0)
    }

    @Test(.enabled(if: hasTwoProcessors))
    func twoCallersOfTwoThreadsHaveNoWorkerAndOneOfThemHasItAgain() {
        let pool = ThreadPool(threadCount: 2)
        pool.enter()
        expectSharedOut(pool, heldUp: 0)
        pool.enter()
        let ofWorker = Tally(2)
        pool.forEach(100) { _, worker in
            usleep(1000)
            ofWorker.add(worker)
        }
        #expect(ofWorker.all == [100, 0])
        pool.leave()
        expectSharedOut(pool, heldUp: 0)
        pool.leave()
    }

    @Test(.enabled(if: hasTwoProcessors))
    func aWorkerLeavesTheRestOfAJobWhenAnotherCallerComes() {
        let pool = ThreadPool(threadCount: 2)
        pool.enter()
        let ofWorker = Tally(2)
        pool.forEach(100) { _, worker in
            // The caller goes on when the worker has come, and another caller while the worker was busy.
            if worker == 0 {
                for _ in 0..<10_000 where ofWorker.all[1] == 0 { usleep(1000) }
                usleep(1000)
            } else if ofWorker.all[1] == 0 {
                pool.enter()
            }
            ofWorker.add(worker)
        }
        #expect(ofWorker.all == [99, 1])
        pool.leave()
        pool.leave()
    }

    @Test func jobsOfSeveralCallersAreAllDoneWhole() async {
        let pool = ThreadPool(threadCount: 2)
        await withTaskGroup(of: Void.self) { group in
            for caller in 0..<4 {
                group.addTask {
                    for round in 0..<100 {
                        let count = 1 + (caller * 100 + round) % 37
                        let tally = Tally(count)
                        pool.enter()
                        pool.forEach(count) { index, _ in tally.add(index) }
                        pool.leave()
                        #expect(tally.all == Array(repeating: 1, count: count))
                    }
                }
            }
        }
    }
}
