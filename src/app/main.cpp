#include "app/cli.h"
#include "app/interrupt.h"

int main(int argc, char** argv) {
  realm::install_interrupt_handler();
  return realm::run_cli(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
