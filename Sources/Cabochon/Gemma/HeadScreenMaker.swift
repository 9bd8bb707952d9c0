// HeadScreenMaker.swift - when a head gets its screen, and when it is given up.
//
// Making the copy costs as much time as it saves in one to two hundred tokens, and memory: a model that answers
// one short question should not pay for it. So it is made once some have been drawn which it would have served.
// It is not made where the head is little of what a token reads, and it is given up where it keeps leaving too
// many rows.

import Synchronization

/// One binding's; any thread.
final class HeadScreenMaker: Sendable {
    /// Tokens drawn before the copy is made.
    private static let patience = 96
    /// Heads that are a smaller part of what a token reads get none. Without one, greedy tokens of 2B in BF16, whose
    /// head is 0.23 of the file, took 1.10 times as long where it is read as the file has it and 1.04 times where
    /// the backend packs it into three quarters of that; those of the 270M, 0.63, packed, 1.20 times.
    private static let smallestShare = 0.2
    private static let smallestPackedShare = 0.3
    /// Where so many more tokens have been drawn by the whole head after all than were served, it is given up.
    private static let tolerance = 16

    private enum State {
        case waiting(tokens: Int)
        /// A piece with each token, so that no token waits for all of them.
        case making(HeadScreen)
        case ready(HeadScreen)
        case none
    }

    private let state = Mutex(State.waiting(tokens: 0))
    private let misses = Atomic<Int>(0)
    private let headShare: Double
    private let log: @Sendable (String) -> Void

    /// - Parameter headShare: how much of what a token reads is the head.
    init(headShare: Double, log: @escaping @Sendable (String) -> Void) {
        self.headShare = headShare
        self.log = log
    }

    /// For one token; nil: by the whole head.
    func screen(of head: StoredTensor, _ kernels: Kernels) -> HeadScreen? {
        state.withLock { state in
            switch state {
            case .none: return nil
            case .ready(let screen): return screen
            case .waiting(let tokens) where tokens < Self.patience:
                state = .waiting(tokens: tokens + 1)
                return nil
            case .waiting:
                // Without memory for it, everything goes on as it was.
                if isWorthwhile(kernels), let screen = try? HeadScreen(of: head, backend: kernels.binding.backend) {
                    state = .making(screen)
                } else {
                    state = .none
                }
                return nil
            case .making(let screen):
                guard (try? screen.makePiece(of: head, execution: kernels.execution)) != nil else {
                    state = .none
                    return nil
                }
                guard screen.isComplete else { return nil }
                log("the head has a screen of \(screen.rows) rows")
                state = .ready(screen)
                return screen
            }
        }
    }

    private func isWorthwhile(_ kernels: Kernels) -> Bool {
        headShare >= (kernels.binding.isHeadPacked ? Self.smallestPackedShare : Self.smallestShare)
    }

    /// - Parameter isServed: false: too many rows were left, or their logits could not be told apart.
    func note(isServed: Bool) {
        let misses = misses.wrappingAdd(isServed ? -1 : 1, ordering: .relaxed).newValue
        if misses < -Self.tolerance { self.misses.store(-Self.tolerance, ordering: .relaxed) }
        guard misses > Self.tolerance else { return }
        state.withLock { state in
            if case .ready = state { log("the head's screen is given up: it leaves too many rows") }
            state = .none
        }
    }
}
