// HeadScreenMaker.swift - when a head gets its screen, and when it is given up.
//
// Making the copy costs as much time as it saves in one to two hundred tokens, and memory: a model that answers
// one short question should not pay for it. So it is made once some have been drawn which it would have served.
// And it is given up where it keeps leaving too many rows.

import Synchronization

/// One binding's; any thread.
final class HeadScreenMaker: Sendable {
    /// Tokens drawn before the copy is made.
    private static let patience = 96
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
    private let log: @Sendable (String) -> Void

    init(log: @escaping @Sendable (String) -> Void) { self.log = log }

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
                if let screen = try? HeadScreen(of: head, backend: kernels.binding.backend) {
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
