// A PCI function of the tests' own: a board with configuration space and BARs. A program's device would be like it.
#ifndef CARD_H
#define CARD_H

#include "check.h"

// BAR 0 has a register that raises the vector that is written to it; BAR 4 is for MSI-X.
enum { CARD_VECTORS = 4, CARD_MSI = 0x40, CARD_EXPRESS = 0x60, CARD_MSIX = 0xa0, CARD_PENDING = 0x800 };

struct card {
    struct board board; // first: the board's functions take a card's address
    irqmux_intx_registers line;
    uint8_t space[256];
    uint64_t written;   // to BAR 0, the last
    uint32_t writes;    // how often that was
    uint32_t resets;
    bool silent;        // region_size answers -EIO
    bool refuses_writes; // to BAR 0, with -EIO
};

irqmux_device_ops card_ops(void);
void card_init(struct card *card);
void card_assert(struct card *card, bool high);

// A mux with a machine attached, and a card on it that is not served yet.
struct carded {
    irqmux_mux mux;
    irqmux_device device;
    struct card card;
    struct tally tally;
    int machine;
    bool high;          // the pin that `drive` sets
    uint32_t drives;
};

void make_carded(struct carded *carded, bool has_irqchip);
void end_carded(struct carded *carded);
// INTx by the VMM's own end of interrupt, which drives carded->high.
irqmux_intx_service user_eoi(struct carded *carded);
irqmux_function serve_card(struct carded *carded, const irqmux_intx_service *line);
uint64_t config_of_function(irqmux_mux mux, irqmux_function function, uint64_t offset, uint32_t width);
uint64_t region_of_function(irqmux_mux mux, irqmux_function function, uint32_t bar, uint64_t offset, uint32_t width);
// The guest programs an entry of the table.
void open_entry(irqmux_mux mux, irqmux_function function, uint32_t entry, uint32_t data, uint32_t control);

#endif
