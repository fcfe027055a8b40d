internal import CKernel
internal import InterruptModel

/// Carries SET_IRQS out one at a time and remembers what is enabled, so that teardown asks for nothing that the kernel
/// would refuse. Allocates nothing after it was made.
@safe final class InterruptKeeper: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    /// Which of INTx, MSI and MSI-X is enabled.
    private var active: IRQIndex?
    private var hasERR = false
    private var hasREQ = false
    /// What was enabled when somebody else's device was adopted: not ours to take down.
    private let foreign: IRQIndex?

    /// - Parameter isFresh: The device was opened just now, so that nothing is enabled.
    init(_ device: Int32, isFresh: Bool) {
        // SAFETY: allocated and initialised here, destroyed and freed in deinit.
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        _ = unsafe pthread_mutex_init(mutex, nil)
        foreign = isFresh ? nil : Self.find(device)
        active = foreign
    }

    deinit {
        // SAFETY: initialised in init; nobody holds a lock that nobody has.
        _ = unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    private func withLock<Value>(_ body: () -> Value) -> Value {
        // SAFETY: the mutex lives as long as self.
        _ = unsafe pthread_mutex_lock(mutex)
        defer {
            // SAFETY: locked above, by this thread.
            _ = unsafe pthread_mutex_unlock(mutex)
        }
        return body()
    }

    /// Which type is enabled: loopback of no vector, or of a false byte, succeeds for that one alone and does nothing.
    private static func find(_ device: Int32) -> IRQIndex? {
        for index in [IRQIndex.intx, .msi, .msix] {
            let request = IRQRequest(index, .trigger, .bool(index == .intx ? [0] : []))
            if submit(device, request) == 0 { return index }
        }
        return nil
    }

    /// The type that is enabled.
    var activeType: IRQIndex? { withLock { active } }

    /// The kernel's own answer, and what was enabled before: 0, a number of vectors to be had, or −errno.
    func set(_ device: Int32, _ request: IRQRequest) -> (result: Int32, activeBefore: IRQIndex?) {
        withLock {
            let before = active
            let result = Self.submit(device, request)
            if result == 0 { note(request) }
            return (result, before)
        }
    }

    /// Carries out a request that nobody has looked at, from its bytes in memory; the state is found out afterwards.
    func set(_ device: Int32, raw bytes: UnsafeRawPointer) -> Int32 {
        withLock {
            // SAFETY: the kernel only reads, and answers EFAULT for what it cannot read.
            let result = unsafe irqmux_ioctl(
                device, irqmux_VFIO_DEVICE_SET_IRQS, UnsafeMutableRawPointer(mutating: bytes))
            active = Self.find(device)
            // Taking away what is not there is no error for these two, so teardown may ask for it.
            hasERR = true
            hasREQ = true
            return result
        }
    }

    private func note(_ request: IRQRequest) {
        guard request.action == .trigger else { return }
        switch request.data {
        case .eventfd(let numbers):
            guard let first = numbers.first else { return }
            switch request.index {
            case .err: hasERR = first >= 0
            case .req: hasREQ = first >= 0
            case .intx, .msi, .msix: active = request.index
            }
        case .none(count: 0):
            switch request.index {
            case .err: hasERR = false
            case .req: hasREQ = false
            case .intx, .msi, .msix: active = nil
            }
        case .none, .bool: break
        }
    }

    /// Takes down what was set up through this keeper.
    func takeDown(_ device: Int32) {
        withLock {
            if let index = active, index != foreign {
                _ = Self.submit(device, IRQRequest(index, .trigger, .none(count: 0)))
                active = nil
            }
            if hasERR { _ = Self.submit(device, IRQRequest(.err, .trigger, .eventfd([-1]))) }
            if hasREQ { _ = Self.submit(device, IRQRequest(.req, .trigger, .eventfd([-1]))) }
            hasERR = false
            hasREQ = false
        }
    }

    static func submit(_ device: Int32, _ request: IRQRequest) -> Int32 {
        let header = request.header
        switch request.data {
        case .none:
            return irqmux_vfio_set_irqs(device, header.flags, header.index, header.start, header.count, nil, 0)
        case .bool(let values):
            // SAFETY: the wrapper reads as many bytes as there are, during the call.
            return unsafe values.withUnsafeBytes {
                unsafe irqmux_vfio_set_irqs(
                    device, header.flags, header.index, header.start, header.count, $0.baseAddress, $0.count)
            }
        case .eventfd(let numbers):
            // SAFETY: as above.
            return unsafe numbers.withUnsafeBytes {
                unsafe irqmux_vfio_set_irqs(
                    device, header.flags, header.index, header.start, header.count, $0.baseAddress, $0.count)
            }
        }
    }
}
