internal import CKernel
public import InterruptModel

extension VFIODevice {
    /// `VFIO_DEVICE_GET_IRQ_INFO`.
    ///
    /// - Throws: `EINVAL` for an index that the device does not know: ERR of a device that is not PCI Express on older
    ///   kernels, ERR and REQ of most mediated devices.
    public func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        var request = vfio_irq_info()
        request.argsz = UInt32(MemoryLayout<vfio_irq_info>.size)
        request.index = index.rawValue
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_VFIO_DEVICE_GET_IRQ_INFO, &request)
        guard result >= 0 else {
            throw DeviceError(
                "GET_IRQ_INFO", errno: -result, remedy: result == -EINVAL ? "this device has no such index" : "")
        }
        return IRQInfo(
            count: request.count, eventfd: request.flags & UInt32(VFIO_IRQ_INFO_EVENTFD) != 0,
            maskable: request.flags & UInt32(VFIO_IRQ_INFO_MASKABLE) != 0,
            automasked: request.flags & UInt32(VFIO_IRQ_INFO_AUTOMASKED) != 0,
            noResize: request.flags & UInt32(VFIO_IRQ_INFO_NORESIZE) != 0)
    }

    /// `VFIO_DEVICE_SET_IRQS`. Allocates nothing.
    ///
    /// - Returns: 0, or the number of vectors that could be had when there were too few; then nothing was enabled.
    /// - Throws: The kernel's errno (docs/vfio-semantics.md). A range may be left half changed;
    ///   ``IRQAssignments/change(to:on:rules:)`` puts back what was there.
    public func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        let (result, active) = interrupts.set(number, request)
        guard result < 0 else { return UInt32(result) }
        throw DeviceError("SET_IRQS", errno: -result, remedy: Self.remedy(-result, request, active))
    }

    /// The ioctl on a `struct vfio_irq_set` as it stands in memory, however wrong: the kernel's own answer, 0, a
    /// positive count, or −errno. For tests that compare the kernel with the model.
    ///
    /// - Parameter bytes: 20 bytes and what `argsz` promises beyond; the kernel answers EFAULT for what it cannot read.
    @unsafe
    public func setInterrupts(raw bytes: UnsafeRawPointer) -> Int32 {
        // SAFETY: the pointer is the caller's promise; the kernel only reads.
        unsafe interrupts.set(number, raw: bytes)
    }

    /// Which of INTx, MSI and MSI-X is enabled; `nil` for none.
    public var activeType: IRQIndex? { interrupts.activeType }

    /// Hardware keeps no count.
    public func raisedCount(_ vector: Vector) -> UInt64? { nil }

    /// What to do about a refusal; the kernel's errno tells little, and what is enabled tells the rest.
    private static func remedy(_ errno: Int32, _ request: IRQRequest, _ active: IRQIndex?) -> StaticString {
        let isType = request.index != .err && request.index != .req
        switch errno {
        case ENOTTY where request.index == .msi: return Reason.msiNotMaskable.remedy
        case ENOTTY where request.index == .msix: return Reason.msixNotMaskable.remedy
        case ENOTTY where !isType: return Reason.eventNotMaskable.remedy
        case ENOTTY: return Reason.maskByEventFD.remedy
        case EBADF: return Reason.notOpen.explanation
        case EBUSY where request.action == .unmask: return Reason.unmaskEventFDBusy.remedy
        case EBUSY: return Reason.lineShared.remedy
        case ENOSPC: return Reason.noVectorsLeft.remedy
        case ERANGE: return Reason.noVectorsAsked.remedy
        case ENODEV where request.index == .intx: return Reason.notConnected.remedy
        case EINVAL where isType && active != nil && active != request.index: return Reason.otherTypeActive.remedy
        case EINVAL where isType && active == nil && request.action != .trigger: return Reason.notEnabledMask.remedy
        case EINVAL where isType && active == nil && request.data == .none(count: 0): return Reason.notEnabled.remedy
        case EINVAL: return "ask GET_IRQ_INFO for the vectors, and pass eventfds only"
        default: return ""
        }
    }
}
