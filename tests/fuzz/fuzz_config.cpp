// The configuration's JSON, as it stands in every checkpoint: any bytes give a valid configuration or an Error. A valid
// one survives being written and read again.
#include <cstdlib>

#include "kernels/error.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nigiri;
    try {
        const Config config = config_from_json(std::string(reinterpret_cast<const char*>(data), size));
        if (!(config_from_json(to_json(config)) == config)) std::abort();
    } catch (const Error&) {
    }
    return 0;
}
