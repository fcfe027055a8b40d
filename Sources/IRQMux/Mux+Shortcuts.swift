internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

// Registers that a guest keeps writing the same way, installed, moved, written by the loop, and taken away.
extension Mux {
    /// The loop has registers to write for a device; the place of the device is below.
    static var shortcutTag: UInt64 { 1 << 63 | 3 << 32 }
    /// So many writes to a register, and other events have their turn.
    static var shortcutBurst: UInt64 { 64 }
    /// So many writes behind, and a device is slower than its guest, which is to wait for it again.
    static var shortcutArrears: UInt64 { 4096 }

    /// Whether there is a virtual machine to take writes from.
    func hasMachine(_ shortcuts: RegisterShortcuts) -> Bool { guest != nil || shortcuts.machine != nil }

    /// Installs both halves of a register that is somewhere.
    ///
    /// - Throws: What the device says, where the loop may not write the register either; what KVM says; as
    ///   `EventLoop.add`; `EMFILE`. Then neither half is there.
    mutating func install(
        _ register: DoorbellRegister, _ shortcuts: RegisterShortcuts, of id: DeviceID
    ) throws(MuxError) {
        let device = try locate(id)
        let shortcut = try RegisterShortcut(register)
        do throws(DeviceError) { try device.setDoorbell(register, shortcut.eventFD.number) } catch {
            guard shortcuts.report.loopWritten < shortcuts.options.loopRegisters else { throw MuxError(error) }
            do throws(RingError) {
                shortcut.source = try loop.add(shortcut.eventFD.number, tag: Self.shortcutTag | UInt64(id.place))
            } catch { throw MuxError(error) }
        }
        do throws(MuxError) { try assign(shortcut, shortcuts) } catch {
            takeDown(shortcut, shortcuts, device)
            throw error
        }
        shortcuts.list.append(shortcut)
        count(shortcuts)
    }

    /// The BARs of a device are elsewhere, or nowhere: so are the registers. What was written at the old places has
    /// reached the device when this returns.
    mutating func replace(_ shortcuts: RegisterShortcuts, of device: AttachedDevice) {
        for shortcut in shortcuts.list {
            let address = shortcuts.address(of: shortcut.register)
            if shortcut.isAt(address) { continue }
            shortcut.bell = nil
            carry(shortcut, shortcuts, device)
            guard address != nil else { continue }
            do throws(MuxError) { try assign(shortcut, shortcuts) } catch {
                end(shortcut, shortcuts, device, because: error)
            }
        }
    }

    /// All of them are traps again; what was written has reached the device.
    mutating func endShortcuts(_ device: AttachedDevice) {
        guard let shortcuts = device.shortcuts else { return }
        for shortcut in shortcuts.list { takeDown(shortcut, shortcuts, device) }
        shortcuts.list.removeAll()
        count(shortcuts)
    }

    /// All of them while the loop is going as well.
    func letGoShortcuts(_ device: AttachedDevice) {
        guard let shortcuts = device.shortcuts else { return }
        for shortcut in shortcuts.list { letGo(shortcut, shortcuts, device) }
    }

    /// The guest goes: what it writes cannot be taken any more.
    mutating func endShortcutsOfGuest() {
        for device in devices {
            guard let device, let shortcuts = device.shortcuts, shortcuts.machine == nil else { continue }
            for shortcut in shortcuts.list { shortcuts.ended.append((shortcut.register, false)) }
            endShortcuts(device)
        }
    }

    /// What was written to registers of the loop reaches the device, before something else does.
    @inline(never)
    func carryShortcuts(_ shortcuts: RegisterShortcuts, of device: AttachedDevice) {
        for shortcut in shortcuts.list { carry(shortcut, shortcuts, device) }
    }

    /// The loop was told that the guest wrote some of a device's registers.
    @inline(never)
    mutating func shortcutEvent(_ event: Event, _ place: UInt32) {
        guard place < UInt32(devices.count), let device = devices[Int(place)], let shortcuts = device.shortcuts
        else { return }
        for shortcut in shortcuts.list where shortcut.source != nil {
            if case .failed(let errno) = event.kind {
                end(shortcut, shortcuts, device, because: MuxError("listening to a register", errno: errno))
                continue
            }
            let due = carry(shortcut, shortcuts, device, atMost: Self.shortcutBurst)
            if due > Self.shortcutArrears {
                end(shortcut, shortcuts, device, because: Self.tooSlow)
            } else if due > 0 {
                shortcut.remind()
            }
        }
    }

    private static var tooSlow: MuxError {
        MuxError(
            "writing a register for the guest", errno: EBUSY,
            remedy: "the device takes writes more slowly than the guest makes them: let the guest wait for each")
    }

    // MARK: One of them

    private func assign(_ shortcut: RegisterShortcut, _ shortcuts: RegisterShortcuts) throws(MuxError) {
        guard let address = shortcuts.address(of: shortcut.register) else {
            throw MuxError("installing an ioeventfd", errno: EINVAL, remedy: "say where the guest has the BAR")
        }
        if shortcuts.machine == nil {
            let table = try attachedGuest().table
            do throws(KVMError) {
                shortcut.bell = try table.machine.assignIOEventFD(shortcut.eventFD.number, at: address)
            } catch { throw table.take(error) }
        } else {
            do throws(KVMError) {
                shortcut.bell = try shortcuts.machine?.assignIOEventFD(shortcut.eventFD.number, at: address)
            } catch { throw MuxError(error) }
        }
    }

    /// Makes the writes of a register that are due.
    ///
    /// - Returns: How many are left.
    @discardableResult
    private func carry(
        _ shortcut: RegisterShortcut, _ shortcuts: RegisterShortcuts, _ device: AttachedDevice,
        atMost limit: UInt64 = .max
    ) -> UInt64 {
        guard shortcut.source != nil else { return 0 }
        let due = shortcut.due(in: loop)
        let count = min(due, limit)
        let access = shortcut.register.access
        for _ in 0..<count {
            do throws(MuxError) {
                try device.write(access.region, access.offset, access.width, shortcut.register.value)
            } catch {
                shortcuts.report.failedWrites += 1
                shortcuts.report.lastError = error
            }
        }
        shortcut.made(count)
        shortcuts.report.writes += count
        return due - count
    }

    /// KVM's half goes first, then what it has signalled is written, then the device's half goes.
    mutating func takeDown(_ shortcut: RegisterShortcut, _ shortcuts: RegisterShortcuts, _ device: AttachedDevice) {
        letGo(shortcut, shortcuts, device)
        if let source = shortcut.source { try? loop.remove(source) }
    }

    /// The same, but for the loop.
    private func letGo(_ shortcut: RegisterShortcut, _ shortcuts: RegisterShortcuts, _ device: AttachedDevice) {
        shortcut.bell = nil
        carry(shortcut, shortcuts, device)
        if shortcut.source == nil { try? device.setDoorbell(shortcut.register, -1) }
    }

    /// It is a trap again, and is not asked for at once.
    private mutating func end(
        _ shortcut: RegisterShortcut, _ shortcuts: RegisterShortcuts, _ device: AttachedDevice,
        because error: MuxError
    ) {
        takeDown(shortcut, shortcuts, device)
        shortcuts.list.removeAll { $0 === shortcut }
        shortcuts.ended.append((shortcut.register, true))
        shortcuts.refuse(error)
        count(shortcuts)
    }

    private func count(_ shortcuts: RegisterShortcuts) {
        shortcuts.report.loopWritten = shortcuts.list.count { $0.source != nil }
        shortcuts.report.kernelWritten = shortcuts.list.count - shortcuts.report.loopWritten
    }
}
