// WeightBinding.swift - a model's matrices as one backend keeps them.
//
// A backend may pack its own copy of each matrix. Copies are made when a forward pass first needs
// the layer, in parallel, and the file's pages are given back then: packed copies replace mapped
// pages instead of standing beside them. Swapping a backend makes a new binding; a forward pass
// under way holds the old one until it ends.

import CCabochonBackend
import Synchronization

final class WeightBinding: @unchecked Sendable {
    let backend: Backend
    let scalar: Backend
    /// For tokens that need only the largest logits.
    let headScreen: HeadScreenMaker
    private let groups: [[StoredTensor]]
    private let firstRecord: [Int]
    private let records: UnsafeMutablePointer<cabochon_weight>
    private let recordCount: Int
    /// Groups below this have been prepared; raised under `lock`.
    private let ready = Atomic<Int>(0)
    private let lock = Mutex<Void>(())

    /// - Parameter groups: matrices that become needed together, in the order of a forward pass:
    ///   the layers, then the head.
    init(
        groups: [[StoredTensor]], backend: Backend, scalar: Backend, headScreen: HeadScreenMaker
    ) throws(CabochonError) {
        self.groups = groups
        self.backend = backend
        self.scalar = scalar
        self.headScreen = headScreen
        var firsts: [Int] = []
        var count = 0
        for group in groups {
            firsts.append(count)
            count += group.count
        }
        firstRecord = firsts
        recordCount = count
        // A few hundred records: bounded by the layer count, which has been checked.
        records = .allocate(capacity: max(count, 1))
        for (index, tensor) in groups.joined().enumerated() {
            (records + index).initialize(to: Self.record(of: tensor))
        }
    }

    deinit {
        for index in 0..<recordCount {
            if let prepared = records[index].prepared { backend.ops.release_weight?(backend.instance, prepared) }
        }
        records.deallocate()
    }

    /// A record of the matrix as its file holds it.
    static func record(of tensor: StoredTensor) -> cabochon_weight {
        var record = cabochon_weight()
        record.struct_size = MemoryLayout<cabochon_weight>.size
        record.data = tensor.bytes.baseAddress
        record.type = tensor.type.rawValue
        record.rows = UInt64(tensor.rows)
        record.columns = UInt64(tensor.columns)
        record.row_bytes = UInt64(tensor.bytesPerRow)
        return record
    }

    /// Makes sure that the groups up to and including `last` are prepared.
    func prepare(through last: Int, run: UnsafePointer<cabochon_run>) throws(CabochonError) {
        guard ready.load(ordering: .acquiring) <= last else { return }
        let failure: CabochonError? = lock.withLock { _ in
            while ready.load(ordering: .relaxed) <= last {
                let group = ready.load(ordering: .relaxed)
                for index in groups[group].indices {
                    if let error = prepare(groups[group][index], record: firstRecord[group] + index, run: run) {
                        return error
                    }
                }
                ready.store(group + 1, ordering: .releasing)
            }
            return nil
        }
        if let failure { throw failure }
    }

    private func prepare(_ tensor: StoredTensor, record: Int, run: UnsafePointer<cabochon_run>) -> CabochonError? {
        guard let prepare = backend.ops.prepare_weight, records[record].prepared == nil else { return nil }
        var prepared: UnsafeMutableRawPointer?
        switch prepare(backend.instance, run, records + record, &prepared) {
        case CABOCHON_OP_DONE:
            records[record].prepared = prepared
            tensor.forgetPages()
            return nil
        case CABOCHON_OP_DECLINED:
            return nil
        default:
            return CabochonError(
                .outOfMemory, "backend \"\(backend.name)\" has no memory to pack tensor \(tensor.name)")
        }
    }

    /// The record of one matrix. Only for groups that have been prepared.
    func weight(_ group: Int, _ index: Int) -> UnsafePointer<cabochon_weight> {
        UnsafePointer(records + firstRecord[group] + index)
    }

    /// Whether the backend keeps a copy of its own of the last group, once that has been prepared.
    var isHeadPacked: Bool { weights(groups.count - 1).contains { $0.pointee.prepared != nil } }

    /// All records of a group.
    func weights(_ group: Int) -> [UnsafePointer<cabochon_weight>] {
        groups[group].indices.map { weight(group, $0) }
    }
}

extension StoredTensor {
    /// Lets the kernel take back this tensor's pages; they are read again from the file if needed.
    func forgetPages() {
        guard let start = bytes.baseAddress, let fileStart = file.bytes.baseAddress else { return }
        let offset = start - fileStart
        file.forgetPages(offset..<offset + bytes.count)
    }
}
