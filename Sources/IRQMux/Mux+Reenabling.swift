internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

// Assigning again what is assigned already.
extension Mux {
    /// Disables an index and enables it with `count` vectors, those that are connected with their eventfds. Nothing
    /// that is held or waits in an eventfd is touched.
    ///
    /// - Returns: 0, or how many vectors the host could have given: then the index is disabled.
    func reenable(
        _ id: DeviceID, _ index: IRQIndex, _ count: UInt32, _ places: [VectorID]
    ) throws(MuxError) -> UInt32 {
        let device = try locate(id)
        do throws(DeviceError) {
            do throws(DeviceError) { try disable(device, index) } catch {
                // A refused attempt left it disabled: the kernel says EINVAL to that.
                guard error.errno == EINVAL else { throw error }
            }
            return try device.set(
                IRQRequest(index, .trigger, start: 0, .eventfd((0..<count).map { signalled($0, places) })))
        } catch { throw MuxError(error) }
    }

    /// Assigns every connected vector's eventfd again: what repairs a table that somebody wiped behind the kernel's
    /// back. One SET_IRQS for each unbroken range.
    func reassign(_ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]) throws(MuxError) {
        let device = try locate(id)
        var vector: UInt32 = 0
        while vector < UInt32(places.count) {
            let start = vector
            var eventfds: [Int32] = []
            while vector < UInt32(places.count), case let eventfd = signalled(vector, places), eventfd >= 0 {
                eventfds.append(eventfd)
                vector += 1
            }
            if !eventfds.isEmpty {
                do throws(DeviceError) {
                    _ = try device.set(IRQRequest(index, .trigger, start: start, .eventfd(eventfds)))
                } catch { throw MuxError(error) }
            }
            vector += 1
        }
    }

    func signalled(_ vector: UInt32, _ places: [VectorID]) -> Int32 {
        let place = places[Int(vector)]
        guard place.slot != .max, let slot = try? entries.locate(place, "assigning a vector") else { return -1 }
        return signalled(slot)
    }

    /// The message of a served vector that has one.
    func message(_ slot: UInt32) -> InterruptMessage? {
        guard let guest, entries[slot].gsi != .max,
            case .message(let address, let data, _)? = guest.table.wantedRoute(entries[slot].gsi)
        else { return nil }
        return InterruptMessage(address: address, data: data)
    }
}
