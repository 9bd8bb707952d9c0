// Handles.swift - the five objects that C callers hold, and the process that may use them.
//
// Each keeps, beside the engine's own object, what C borrows from it: NUL-terminated copies of
// names and texts that live as long as the handle.

import Cabochon
import CabochonShims
import Glibc
import Synchronization

/// Text in C's form, valid as long as this object.
final class CText: @unchecked Sendable {
    let bytes: UnsafePointer<CChar>
    let count: Int
    private let owned: UnsafeMutableRawPointer?

    init(_ text: String) {
        var text = text
        let copied = text.withUTF8 { utf8 -> (UnsafeMutableRawPointer, Int)? in
            guard let memory = cabochon_shim_allocate(utf8.count + 1) else { return nil }
            UnsafeMutableRawBufferPointer(start: memory, count: utf8.count).copyMemory(
                from: UnsafeRawBufferPointer(utf8))
            return (memory, utf8.count)
        }
        owned = copied?.0
        count = copied?.1 ?? 0
        bytes = copied.map { UnsafePointer($0.0.assumingMemoryBound(to: CChar.self)) } ?? CText.empty
    }

    deinit { cabochon_shim_free(owned) }

    /// "" that outlives everything; also what is left of a text when memory is short.
    static var empty: UnsafePointer<CChar> {
        let literal: StaticString = ""
        return UnsafeRawPointer(literal.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}

/// Numbers in C's form, valid as long as this object.
final class CNumbers<Element: BitwiseCopyable>: @unchecked Sendable {
    let elements: UnsafePointer<Element>
    let count: Int
    private let owned: UnsafeMutableRawPointer

    init(_ numbers: [Element]) throws(CabochonError) {
        guard let memory = cabochon_shim_allocate(numbers.count * MemoryLayout<Element>.stride) else {
            throw CabochonError(.outOfMemory, "\(numbers.count) numbers of an answer")
        }
        owned = memory
        count = numbers.count
        let typed = memory.bindMemory(to: Element.self, capacity: numbers.count)
        for (index, number) in numbers.enumerated() { typed[index] = number }
        elements = UnsafePointer(typed)
    }

    deinit { cabochon_shim_free(owned) }
}

final class ErrorHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0001
    let code: Int32
    let message: CText

    init(_ error: CabochonError) {
        code = error.code.rawValue
        message = CText(error.message)
    }
}

final class EngineHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0002
    let engine: Engine
    private let names = Mutex<[CText]?>(nil)
    private let process = getpid()

    init(_ engine: Engine) {
        self.engine = engine
    }

    /// The backends' names, for callers to borrow. Made when first asked for: asking prepares them all.
    var backendNames: [CText] {
        names.withLock { names in
            let made = names ?? engine.backends.map { CText($0.name) }
            names = made
            return made
        }
    }

    /// A child of fork() has none of the engine's threads, and maybe locks that nobody will open.
    func checkProcess() throws(CabochonError) {
        let current = getpid()
        guard current == process else {
            throw CabochonError(
                .forked,
                "an engine of process \(process) in its fork, process \(current): create an engine after the fork")
        }
    }
}

final class ModelHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0003
    let model: Model
    let engine: EngineHandle
    let architecture: CText
    /// Of the calls that compute without a session.
    let cancellation = CancellationOfAll()

    init(_ model: Model, engine: EngineHandle) {
        self.model = model
        self.engine = engine
        architecture = CText(model.configuration.architecture)
    }
}

final class SessionHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0004
    let session: Session
    let engine: EngineHandle
    private let isBusy = Atomic<Bool>(false)
    /// The thread whose call is running; 0 for none.
    private let caller = Atomic<UInt>(0)

    init(_ session: Session, engine: EngineHandle) {
        self.session = session
        self.engine = engine
    }

    /// Marks a call as running. The header asks for one at a time; a host that gets it wrong, from a
    /// callback or a second thread, shall learn it from a status.
    func begin() throws(CabochonError) {
        guard !isBusy.exchange(true, ordering: .acquiring) else {
            throw CabochonError(.invalidArgument, "the session is in use by another call")
        }
        caller.store(Self.thisThread, ordering: .relaxed)
    }

    func end() {
        caller.store(0, ordering: .relaxed)
        isBusy.store(false, ordering: .releasing)
    }

    /// Runs what only looks at the session: on its own, or from a callback of the call that is running.
    func look<Result>(_ body: (Session) throws(CabochonError) -> Result) throws(CabochonError) -> Result {
        if caller.load(ordering: .relaxed) == Self.thisThread { return try body(session) }
        try begin()
        defer { end() }
        return try body(session)
    }

    private static var thisThread: UInt { UInt(pthread_self()) }
}

final class GenerationHandle: HandleObject {
    static let magic: UInt32 = 0xca60_0005
    let result: GenerationResult
    let text: CText
    let tokens: CNumbers<Int32>
    let logprobs: CNumbers<Float>
    /// The policy for which a guard stopped the answer.
    let filterPolicy: CText?
    let guardSeconds: Double

    init(_ result: GenerationResult, filterPolicy: String? = nil, guardSeconds: Double = 0) throws(CabochonError) {
        self.filterPolicy = filterPolicy.map { CText($0) }
        self.guardSeconds = guardSeconds
        self.result = result
        text = CText(result.text)
        tokens = try CNumbers(result.tokens)
        logprobs = try CNumbers(result.logprobs.map(\.chosen.logprob))
    }
}
