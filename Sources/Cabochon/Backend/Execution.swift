// Execution.swift - one caller's hold on the pool and on scratch memory, as backends see it.
//
// Every session has its own, so sessions on several threads never share scratch.

import CCabochonBackend
import CabochonShims

final class Execution {
    let pool: ThreadPool
    private var scratch: UnsafeMutableRawPointer?
    private var scratchSize = 0
    /// In memory of its own, because backends hold its address during an op.
    private let record: UnsafeMutablePointer<cabochon_run>

    var run: UnsafePointer<cabochon_run> { UnsafePointer(record) }

    init(pool: ThreadPool) {
        self.pool = pool
        record = .allocate(capacity: 1)
        record.initialize(to: cabochon_run())
        record.pointee.struct_size = MemoryLayout<cabochon_run>.size
        record.pointee.host = Unmanaged.passUnretained(self).toOpaque()
        record.pointee.thread_count = UInt32(pool.threadCount)
        record.pointee.parallel_for = { run, count, body, context in
            guard let body, let execution = Execution.of(run) else { return }
            execution.pool.run(count: count, body: body, context: context)
        }
        record.pointee.scratch = { run, bytes in Execution.of(run)?.scratch(byteCount: bytes) }
    }

    deinit {
        cabochon_shim_free(scratch)
        record.deallocate()
    }

    private static func of(_ run: UnsafePointer<cabochon_run>?) -> Execution? {
        run?.pointee.host.map { Unmanaged<Execution>.fromOpaque($0).takeUnretainedValue() }
    }

    private func scratch(byteCount: Int) -> UnsafeMutableRawPointer? {
        if scratch == nil || byteCount > scratchSize {
            cabochon_shim_free(scratch)
            scratchSize = 0
            scratch = cabochon_shim_allocate(byteCount)
            if scratch != nil { scratchSize = byteCount }
        }
        return scratch
    }
}
