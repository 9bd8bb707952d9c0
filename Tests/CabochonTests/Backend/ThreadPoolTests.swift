import Glibc
import Synchronization
import Testing

@testable import Cabochon

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

    @Test(.enabled(if: sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1), arguments: [0, 16, 31])
    func whatAThreadThatIsHeldUpLeavesIsTakenByTheOthers(heldUp: Int) {
        let pool = ThreadPool(threadCount: 2)
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
