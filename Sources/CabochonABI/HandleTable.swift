// HandleTable.swift - what an opaque pointer of cabochon.h points at.
//
// A handle is the address of a slot in one reserved range of memory, never of a Swift object. So
// any pointer can be checked without reading through it: it lies in the range, on a slot, and the
// slot's magic word is that of the expected type. A freed slot is poisoned and goes to the end of
// a queue before it is used again, so that a stale handle is recognised for a long time.

import CabochonShims
import Synchronization

/// An object that a C caller may hold. `magic` tells the types apart in a slot.
protocol HandleObject: AnyObject {
    static var magic: UInt32 { get }
}

/// All live handles of the process.
///
/// Unchecked: slots are atomics, and the queue is behind CABOCHON_LOCK_HANDLES, which a child of fork() can take; a
/// slot's `next` belongs to it.
final class HandleTable: @unchecked Sendable {
    static let shared = HandleTable()

    private struct Slot: ~Copyable {
        let magic = Atomic<UInt32>(0)
        let references = Atomic<Int>(0)
        /// Calls of `visit` under way.
        let visitors = Atomic<Int>(0)
        let object = Atomic<UnsafeMutableRawPointer?>(nil)
        var next = 0
    }

    /// Slots given out so far, and the freed ones in the order they were freed.
    private struct Queue {
        var issued = 0
        var first = 0
        var last = 0
        var count = 0
    }

    /// Live handles at most; 10 MB of addresses, which take memory as they are first used.
    private static let capacity = 1 << 18
    /// Freed handles that stay recognisable before the oldest is used again.
    private static let quarantine = 4096
    private static let poison: UInt32 = 0xdead_ca60

    private let slots: UnsafeMutablePointer<Slot>?
    private var queue = Queue()

    private init() {
        slots = cabochon_shim_reserve_pages(Self.capacity * MemoryLayout<Slot>.stride, 0)?
            .assumingMemoryBound(to: Slot.self)
        // Visitors whose threads a child does not have would be waited for without end.
        cabochon_shim_after_fork(
            {
                Unmanaged<HandleTable>.fromOpaque($0.unsafelyUnwrapped)._withUnsafeGuaranteedRef { $0.forgetVisitors() }
            },
            Unmanaged.passUnretained(self).toOpaque())
    }

    private func forgetVisitors() {
        guard let slots else { return }
        for index in 0..<queue.issued { slots[index].visitors.store(0, ordering: .relaxed) }
    }

    /// A handle that holds `object` with one reference; nil if there is no room.
    func insert<Object: HandleObject>(_ object: Object) -> OpaquePointer? {
        guard let slots, let index = takeSlot() else { return nil }
        slots[index].object.store(Unmanaged.passRetained(object).toOpaque(), ordering: .relaxed)
        slots[index].references.store(1, ordering: .relaxed)
        slots[index].magic.store(Object.magic, ordering: .releasing)
        return OpaquePointer(slots + index)
    }

    /// The object of a live handle of this type, which nobody may free meanwhile.
    func object<Object: HandleObject>(_ handle: OpaquePointer?, as type: Object.Type = Object.self) -> Object? {
        guard let slot = slot(handle), slot.pointee.magic.load(ordering: .acquiring) == Object.magic,
            let object = slot.pointee.object.load(ordering: .relaxed)
        else { return nil }
        return Unmanaged<Object>.fromOpaque(object).takeUnretainedValue()
    }

    /// Runs `body` with the object of a live handle of this type; another thread that frees it waits for the end.
    /// Atomic operations only, so fit for signal handlers.
    func visit<Object: HandleObject>(
        _ handle: OpaquePointer?, as type: Object.Type = Object.self, _ body: (Object) -> Void
    ) {
        guard let slot = slot(handle) else { return }
        // Before the look at `magic`, as `release` writes that before its look for visitors.
        slot.pointee.visitors.wrappingAdd(1, ordering: .sequentiallyConsistent)
        defer { slot.pointee.visitors.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
        guard slot.pointee.magic.load(ordering: .sequentiallyConsistent) == Object.magic,
            let object = slot.pointee.object.load(ordering: .acquiring)
        else { return }
        Unmanaged<Object>.fromOpaque(object)._withUnsafeGuaranteedRef(body)
    }

    /// Adds a reference; nil if the handle is not a live one of this type.
    func retain<Object: HandleObject>(_ handle: OpaquePointer?, as type: Object.Type) -> OpaquePointer? {
        guard let slot = slot(handle), slot.pointee.magic.load(ordering: .acquiring) == Object.magic else { return nil }
        slot.pointee.references.wrappingAdd(1, ordering: .relaxed)
        return handle
    }

    /// Gives a reference back; with the last one the object goes. Anything else is left alone.
    func release<Object: HandleObject>(_ handle: OpaquePointer?, as type: Object.Type) {
        guard let slot = slot(handle), slot.pointee.magic.load(ordering: .acquiring) == Object.magic,
            slot.pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
        else { return }
        slot.pointee.magic.store(Self.poison, ordering: .sequentiallyConsistent)
        while slot.pointee.visitors.load(ordering: .sequentiallyConsistent) != 0 { cabochon_shim_yield() }
        if let object = slot.pointee.object.exchange(nil, ordering: .acquiring) {
            Unmanaged<Object>.fromOpaque(object).release()
        }
        giveSlotBack(slot)
    }

    /// The slot at an address, if it is the address of one.
    private func slot(_ handle: OpaquePointer?) -> UnsafeMutablePointer<Slot>? {
        guard let handle, let slots else { return nil }
        let (offset, before) = UInt(bitPattern: handle).subtractingReportingOverflow(UInt(bitPattern: slots))
        let stride = UInt(MemoryLayout<Slot>.stride)
        guard !before, offset % stride == 0, offset / stride < UInt(Self.capacity) else { return nil }
        return slots + Int(offset / stride)
    }

    private func takeSlot() -> Int? {
        cabochon_shim_lock(Int32(CABOCHON_LOCK_HANDLES))
        defer { cabochon_shim_unlock(Int32(CABOCHON_LOCK_HANDLES)) }
        guard let slots else { return nil }
        if queue.count > Self.quarantine || (queue.issued == Self.capacity && queue.count > 0) {
            let index = queue.first
            queue.first = slots[index].next
            queue.count -= 1
            return index
        }
        guard queue.issued < Self.capacity else { return nil }
        (slots + queue.issued).initialize(to: Slot())
        queue.issued += 1
        return queue.issued - 1
    }

    private func giveSlotBack(_ slot: UnsafeMutablePointer<Slot>) {
        cabochon_shim_lock(Int32(CABOCHON_LOCK_HANDLES))
        defer { cabochon_shim_unlock(Int32(CABOCHON_LOCK_HANDLES)) }
        guard let slots else { return }
        let index = slot - slots
        if queue.count > 0 { slots[queue.last].next = index } else { queue.first = index }
        queue.last = index
        queue.count += 1
    }
}
