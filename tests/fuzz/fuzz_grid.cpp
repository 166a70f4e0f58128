// Grid files: any bytes give a grid or an Error. The rows of a grid are valid configurations, and its names are
// folders' names.
#include <cstdlib>

#include "app/ablate/grid.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nigiri;
    try {
        const app::Grid grid = app::parse_grid(std::string(reinterpret_cast<const char*>(data), size), "grid");
        if (grid.rows.empty() || grid.seeds.empty() || grid.reference >= grid.rows.size()) std::abort();
        for (const app::GridRow& row : grid.rows) {
            validate(row.config);
            if (row.config.training.steps < 1 || row.place.size() != grid.axes.size()) std::abort();
            if (row.name.empty() || row.name[0] == '.' || row.name.find('/') != std::string::npos) std::abort();
        }
    } catch (const Error&) {
    }
    return 0;
}
