internal import CKernel
public import InterruptModel

/// A write that the kernel does to the device whenever an eventfd is signalled, without waking anybody. Taken away with
/// its scope; the device must outlive it, or is closed first and takes it along.
///
/// The write is done in the signaller's context where that may be, and by a kernel worker otherwise; it is left out
/// while the device decodes no memory. Source: `VFIO_DEVICE_IOEVENTFD`, since Linux 4.17.
public struct VFIODoorbell: ~Copyable, Sendable {
    private let device: Int32
    private let place: UInt64
    private let width: UInt32
    /// What is written.
    public let value: UInt64

    fileprivate init(_ device: Int32, _ place: UInt64, _ width: UInt32, _ value: UInt64) {
        self.device = device
        self.place = place
        self.width = width
        self.value = value
    }

    deinit { _ = irqmux_vfio_ioeventfd(device, width, place, value, -1) }
}

extension VFIODevice {
    /// Lets signals of `eventFD` write `value` to a BAR.
    ///
    /// - Parameters:
    ///   - eventFD: An eventfd's number. Borrowed: it stays the caller's, and open.
    ///   - region: A BAR, 0…5.
    ///   - offset: In the BAR, a multiple of the width; not in the MSI-X table.
    ///   - width: 1, 2, 4 or 8 bytes.
    /// - Throws: `EEXIST` for a write that another doorbell does; `ENOSPC` beyond 1000; `EINVAL`, `EBADF`, `ENOTTY`.
    public func doorbell(
        _ eventFD: Int32, region: UInt32, offset: UInt64, width: UInt32, value: UInt64
    ) throws(VFIOError) -> VFIODoorbell {
        let place = try install(eventFD, region: region, offset: offset, width: width, value: value)
        return VFIODoorbell(number, place, width, value)
    }

    /// Installs one that nobody owns; where it is in the device's file.
    private func install(
        _ eventFD: Int32, region: UInt32, offset: UInt64, width: UInt32, value: UInt64
    ) throws(VFIOError) -> UInt64 {
        guard region < UInt32(regions.count), eventFD >= 0 else {
            throw VFIOError(.doorbell, errno: eventFD < 0 ? EBADF : EINVAL, .noSuchPlace)
        }
        let (place, overflow) = regions[Int(region)].offset.addingReportingOverflow(offset)
        guard !overflow, offset <= regions[Int(region)].size else {
            throw VFIOError(.doorbell, errno: EINVAL, .noSuchPlace)
        }
        let result = irqmux_vfio_ioeventfd(number, width, place, value, eventFD)
        guard result < 0 else { return place }
        let reason: VFIOError.Reason =
            switch result {
            case -EEXIST: .doorbellTaken
            case -ENOSPC: .tooManyDoorbells
            case -EINVAL: .noSuchPlace
            default: .plain(-result)
            }
        throw VFIOError(.doorbell, errno: -result, reason)
    }

    /// The same as the mux asks for it: signals of `eventFD` write the register until it is taken away with −1.
    ///
    /// - Throws: As `doorbell`.
    public func setDoorbell(_ register: DoorbellRegister, eventFD: Int32) throws(DeviceError) {
        let access = register.access
        do throws(VFIOError) {
            if eventFD >= 0 {
                let width = UInt32(truncatingIfNeeded: access.width)
                _ = try install(
                    eventFD, region: access.region, offset: access.offset, width: width, value: register.value)
            } else {
                let place = regions[Int(access.region)].offset &+ access.offset
                let result = irqmux_vfio_ioeventfd(number, UInt32(access.width), place, register.value, -1)
                if result < 0 { throw VFIOError(.doorbell, errno: -result, .plain(-result)) }
            }
        } catch { throw DeviceError("VFIO_DEVICE_IOEVENTFD", errno: error.errno, remedy: error.reason.remedy) }
    }
}
