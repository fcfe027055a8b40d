internal import CKernel
internal import EventRing
internal import Glibc
public import InterruptModel
internal import Synchronization

/// An eventfd that does the same as a write to a part of a region: whoever holds it wires it to KVM as an ioeventfd,
/// and the guest's write never reaches the device's server.
///
/// Source: `VFIO_USER_DEVICE_GET_REGION_IO_FDS` of the vfio-user specification.
public struct RegionEventFD: Equatable, Sendable {
    /// The region.
    public let region: UInt32
    /// Where the write goes, in bytes from the region's beginning.
    public let offset: UInt64
    /// How wide the write is, in bytes. Any value counts.
    public let size: UInt64
    /// The eventfd, the device's own: valid as long as the device lives, and not to be closed. O_NONBLOCK.
    public let descriptor: Int32
    /// The vector that it raises.
    public let vector: Vector
}

/// Serves the doorbells through eventfds, from the first time that somebody asks for them.
final class DoorbellService: Sendable {
    /// One doorbell's eventfd is written; raises its vector.
    struct Ringer: EventHandler {
        let core: DeviceCore
        let vectors: [Vector]

        mutating func handle(_ event: Event, on loop: inout EventLoop) {
            // A source that cannot be listened to is never one of ours: the eventfds live as long as the loop.
            guard event.kind == .signal, event.count > 0 else { return }
            core.ring(vectors[Int(event.tag)], times: event.count)
        }
    }

    /// The eventfds, closed after the loop that listens to them has ended.
    struct Served: ~Copyable {
        let loop: LoopThread<Ringer>
        let bells: Bells
    }

    /// Owns the eventfds of the doorbells.
    final class Bells: Sendable {
        let list: [RegionEventFD]

        /// - Throws: `EMFILE`, `ENFILE`, `ENOMEM`; what was made until then is closed.
        init(_ vectors: [Vector]) throws(DeviceError) {
            var list: [RegionEventFD] = []
            for vector in vectors {
                let number = irqmux_eventfd_create(0)
                guard number >= 0, let offset = Doorbells.offset(of: vector) else {
                    for made in list { _ = irqmux_close(made.descriptor) }
                    throw DeviceError("make doorbells", errno: -number, remedy: "raise RLIMIT_NOFILE (ulimit -n)")
                }
                list.append(
                    RegionEventFD(
                        region: ExerciserRegion.doorbells.rawValue, offset: offset, size: Doorbells.stride,
                        descriptor: number, vector: vector))
            }
            self.list = list
        }

        deinit { for bell in list { _ = irqmux_close(bell.descriptor) } }
    }

    private let core: DeviceCore
    private let vectors: [Vector]
    private let served = Mutex<Served?>(nil)

    init(_ core: DeviceCore, _ configuration: ExerciserConfiguration) {
        self.core = core
        let counts = [(IRQIndex.msix, configuration.msix), (.msi, configuration.msi), (.intx, configuration.intx)]
        vectors = counts.flatMap { index, count in (0..<count).map { Vector(index, $0) } }
    }

    /// The doorbells' eventfds; makes them, and the thread that listens, the first time.
    func eventFDs() throws(DeviceError) -> [RegionEventFD] {
        try served.withLock { (served) throws(DeviceError) in
            if let list = served?.bells.list { return list }
            guard !vectors.isEmpty else { return [] }
            let bells = try Bells(vectors)
            var options = LoopOptions()
            options.capacity = vectors.count
            options.timers = 1
            options.instrumented = false
            do throws(RingError) {
                let loop = try LoopThread(options, handler: Ringer(core: core, vectors: vectors)) {
                    (loop, _) throws(RingError) in
                    for (position, bell) in bells.list.enumerated() {
                        _ = try loop.add(bell.descriptor, tag: UInt64(position), delivery: .counted)
                    }
                }
                served = Served(loop: loop, bells: bells)
            } catch {
                throw DeviceError("serve doorbells", errno: error.errno, remedy: error.remedy)
            }
            return bells.list
        }
    }

    /// Stops listening. Called before the device goes, so that nothing is raised afterwards.
    func stop() {
        served.withLock { served in
            if let running = served.take() { _ = running.loop.stop() }
        }
    }
}
