#include <iostream>

#include "millrace/actors/options.h"

int main() {
  std::cout << millrace::CheckOptions({}) << "\n";
  return 0;
}
